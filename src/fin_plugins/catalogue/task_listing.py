"""One line of facts per task, without lm-eval, for `fin task list`."""

from dataclasses import dataclass
from typing import Any

from fin_plugins.catalogue.task_search import TaskEntry
from fin_plugins.common.errors import FinError


@dataclass(frozen=True)
class ListedTask:
    """The facts about a task.

    Attributes:
        name: name in lm-eval.
        protocol: `choice` or `gen`.
        seen: whether models are trained on it; None if the file does not state it.
        labels: the label set.
        rows: rows per split after cleaning; empty for hub data sets and unreadable rows.
        data: where the rows are: `fetched`, `not fetched`, `sample rows`, `here`, `on the hub`; or what is wrong.
        source: source of the data.
        licence: licence of the data.
        groups: groups and tags.
        file: the YAML file.
        about: description in the file.
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


def list_task(task: TaskEntry) -> ListedTask:
    """The facts about a task; if its rows cannot be read, `data` says why."""
    rows, data = _count_rows(task)
    seen, labels = task.fin.get("seen"), task.file.dataset_kwargs.get("labels")
    words = list(labels.values()) if isinstance(labels, dict) else labels
    return ListedTask(
        name=task.name,
        protocol=task.protocol,
        seen=seen if isinstance(seen, bool) else None,
        labels=list(map(str, words)) if isinstance(words, list) else [],
        rows=rows,
        data=data,
        source=task.fin.get("source"),
        licence=task.fin.get("licence"),
        groups=list(task.groups),
        file=str(task.file.path),
        about=task.description,
    )


def format_tasks(tasks: list[ListedTask]) -> str:
    """The list for people, two lines per task."""
    width = max((len(task.name) for task in tasks), default=0)
    return "\n".join(_format_task(task, width) for task in tasks)


def _format_task(task: ListedTask, width: int) -> str:
    side = {True: "seen", False: "unseen", None: "?"}[task.seen]
    counts = "  ".join(f"{split} {task.rows[split]:>6,}" for split in ("train", "test") if split in task.rows)
    labels = f"{len(task.labels):>2} labels"
    first = f"{task.name:<{width}}  {task.protocol:<6}  {side:<6}  {labels}  {counts:<26}  {task.data}"
    groups = f"in {', '.join(task.groups)}" if task.groups else "in no group"
    licence, source = f"licence: {task.licence or 'not stated'}", task.source or "source not stated"
    return f"{first}\n    {licence} · {source} · {groups}"


def _count_rows(task: TaskEntry) -> tuple[dict[str, int], str]:
    """Rows per split, and where they are."""
    try:
        if task.fin.get("rows"):
            return _count_bundled(str(task.fin["rows"]))
        return _count_custom(task, task.file.dataset_kwargs)
    except FinError as error:
        return {}, str(error)


def _count_bundled(name: str) -> tuple[dict[str, int], str]:
    from fin_plugins.data import dataset_store
    from fin_plugins.data.data_cards import bundled_card
    from fin_plugins.data.dataset_rows import data_mode, sample_splits
    from fin_plugins.data.sources import find

    dataset = find(name)
    if data_mode() == "sample":
        return {split: len(frame) for split, frame in sample_splits(dataset).items()}, "sample rows"
    counts = {split: int(fields["rows"]) for split, fields in bundled_card(name)["splits"].items()}
    return counts, "fetched" if dataset_store.current_manifest(dataset) else "not fetched"


def _count_custom(task: TaskEntry, settings: dict[str, Any]) -> tuple[dict[str, int], str]:
    from pydantic import ValidationError

    from fin_plugins.tasks.custom_rows import read_custom_rows
    from fin_plugins.tasks.task_config import CustomDatasetConfig

    if settings.get("hub"):
        return {}, "on the hub"
    try:
        config = CustomDatasetConfig.model_validate(settings)
    except ValidationError:
        return {}, f"invalid dataset_kwargs: `fin task check {task.file.path}` lists the problems"
    frames = read_custom_rows(config, task.file.path.parent).frames
    return {split: len(frame) for split, frame in frames.items()}, "here"
