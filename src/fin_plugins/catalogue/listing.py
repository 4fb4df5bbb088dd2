"""One line of facts a task, without lm-eval: what `fin task list` shows."""

from dataclasses import dataclass
from typing import Any

from fin_plugins.catalogue.find import Found
from fin_plugins.common.errors import FinError


@dataclass(frozen=True)
class Listed:
    """A task.

    Attributes:
        name: as lm-eval knows it.
        protocol: `choice` or `gen`.
        seen: whether models are trained on it; None where the file does not say.
        labels: the label set.
        rows: rows a split, after cleaning; empty where they are not counted here (hub data sets) or cannot be read.
        data: where the rows are: `fetched`, `not fetched`, `sample rows`, `here`, `on the hub`, or what is wrong.
        source: where the data comes from.
        licence: of the data.
        groups: groups and tags.
        file: the YAML.
        about: what the file says of itself.
    """

    name: str
    protocol: str
    seen: bool | None
    labels: list[str]
    rows: dict[str, int]
    data: str
    source: str | None
    licence: str | None
    groups: list[str]
    file: str
    about: str


def listed(found: Found) -> Listed:
    """The facts about a task; a task whose rows cannot be read is listed too, with the reason."""
    fin, kwargs = found.fin, found.file.data.get("dataset_kwargs")
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    rows, data = _rows(found, kwargs)
    return Listed(
        name=found.name,
        protocol=found.protocol,
        seen=seen if isinstance(seen := fin.get("seen"), bool) else None,
        labels=_labels(kwargs.get("labels")),
        rows=rows,
        data=data,
        source=fin.get("source"),
        licence=fin.get("licence"),
        groups=list(found.groups),
        file=str(found.file.path),
        about=found.about,
    )


def text(tasks: list[Listed]) -> str:
    """The list for people, two lines a task."""
    width = max((len(task.name) for task in tasks), default=0)
    return "\n".join(_lines(task, width) for task in tasks)


def _lines(task: Listed, width: int) -> str:
    side = {True: "seen", False: "unseen", None: "?"}[task.seen]
    counts = "  ".join(f"{split} {task.rows[split]:>6,}" for split in ("train", "test") if split in task.rows)
    labels = f"{len(task.labels):>2} labels"
    first = f"{task.name:<{width}}  {task.protocol:<6}  {side:<6}  {labels}  {counts:<26}  {task.data}"
    belongs = f"in {', '.join(task.groups)}" if task.groups else "in no group"
    licence, source = f"licence: {task.licence or 'not stated'}", task.source or "source not stated"
    return f"{first}\n    {licence} · {source} · {belongs}"


def _labels(stated: Any) -> list[str]:
    words = list(stated.values()) if isinstance(stated, dict) else stated
    return list(map(str, words)) if isinstance(words, list) else []


def _rows(found: Found, kwargs: dict[str, Any]) -> tuple[dict[str, int], str]:
    try:
        if found.fin.get("rows"):
            return _shipped(str(found.fin["rows"]))
        return _own(found, kwargs)
    except FinError as error:
        return {}, str(error)


def _shipped(name: str) -> tuple[dict[str, int], str]:
    from fin_plugins.data import store
    from fin_plugins.data.published import committed
    from fin_plugins.data.rows import chosen_origin, sample_splits
    from fin_plugins.data.sources import find

    dataset = find(name)
    if chosen_origin() == "sample":
        return {split: len(frame) for split, frame in sample_splits(dataset).items()}, "sample rows"
    counts = {split: int(fields["rows"]) for split, fields in committed(name)["splits"].items()}
    return counts, "fetched" if store.current(dataset) else "not fetched"


def _own(found: Found, kwargs: dict[str, Any]) -> tuple[dict[str, int], str]:
    from pydantic import ValidationError

    from fin_plugins.tasks.fields import OwnRows
    from fin_plugins.tasks.own_rows import read

    if kwargs.get("hub"):
        return {}, "on the hub"
    try:
        rows = OwnRows.model_validate(kwargs)
    except ValidationError:
        return {}, f"dataset_kwargs are wrong: `fin task check {found.file.path}` says how"
    frames = read(rows, found.file.path.parent).frames
    return {split: len(frame) for split, frame in frames.items()}, "here"
