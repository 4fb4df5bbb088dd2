"""A task's card: all that whoever reads its scores should know."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.catalogue.find import Found
from fin_plugins.catalogue.prompt import Prompt, load, prompt
from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


_ORDER = ("train", "fewshot", "validation", "test")


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        rows: how many, after cleaning.
        before_cleaning: how many; None where it is not known.
        labels: rows a label, in the task's order.
        sha256: content hash of the rows; None where the loader gives none.
    """

    rows: int
    before_cleaning: int | None
    labels: dict[str, int]
    sha256: str | None


@dataclass(frozen=True)
class Shown:
    """One row's prompt.

    Attributes:
        split: whose row it is.
        row: counted from 0.
        id: the row's own.
        label: the right answer.
        plain: as a model without chat template gets it.
        chat: in a chat template; None where there was no model to take one from.
        chat_model: the model of that template.
        no_chat: why there is no chat form.
    """

    split: str
    row: int
    id: str | None
    label: str | None
    plain: Prompt
    chat: Prompt | None
    chat_model: str | None
    no_chat: str | None


@dataclass(frozen=True)
class TaskCard:
    """A card.

    Attributes:
        name: as lm-eval knows it.
        about: what the file says of itself.
        file: the YAML.
        file_sha256: of what the YAML says, includes applied; comments and order do not count.
        protocol: `choice` or `gen`.
        seen: whether models are trained on it; None where the file does not say.
        groups: groups and tags.
        language: of the texts.
        source: of the data.
        licence: of the data.
        citation: paper to cite.
        data: `real` or `sample`.
        splits: by name.
        left_out: rows that the loader left out, by reason; empty where it counts none.
        floor: what always answering the most frequent label of the test rows scores, each 0 to 1, with that `label`.
        fewshot_split: where few-shot examples come from.
        prompt: of one row.
    """

    name: str
    about: str
    file: str
    file_sha256: str
    protocol: str
    seen: bool | None
    groups: list[str]
    language: str | None
    source: str | None
    licence: str | None
    citation: str | None
    data: str | None
    splits: dict[str, Split]
    left_out: dict[str, int]
    floor: dict[str, Any] | None
    fewshot_split: str | None
    prompt: Shown


def build(found: Found, split: str | None, row: int, model: str | None) -> TaskCard:
    """Make a task's card.

    Args:
        found: the task.
        split: whose row's prompt is shown; the test split where None.
        row: which row, counted from 0.
        model: folder or hub name, for its chat template; where None the demo model's, if it is on this machine.

    Raises:
        FinError: the rows cannot be read, lm-eval cannot make a task of the file, or there is no such row or model.
    """
    from fin_plugins.common.hashing import digest

    task = load(found.file.path, found.name)
    fin = dict((task.config.metadata or {}).get("fin") or {})
    return TaskCard(
        name=found.name,
        about=found.about,
        file=str(found.file.path),
        file_sha256=digest(found.file.data),
        protocol=found.protocol,
        groups=list(found.groups),
        data=fin.get("data"),
        splits=_splits(task, fin),
        left_out=dict(fin.get("rows_dropped") or {}),
        floor=_floor(task),
        fewshot_split=task.config.fewshot_split,
        prompt=_shown(task, split or task.config.test_split or task.config.validation_split, row, model),
        **{key: fin.get(key) for key in ("seen", "language", "source", "licence", "citation")},
    )


def _splits(task: "ConfigurableTask", fin: dict[str, Any]) -> dict[str, Split]:
    hashes, before = fin.get("content_hash") or {}, _before_cleaning(fin)
    found = {}
    for name in sorted(task.dataset, key=_place):
        rows = task.dataset[name]
        counts = Counter(rows["label"]) if "label" in rows.column_names else Counter()
        ordered = {label: counts[label] for label in _label_set(rows) or sorted(map(str, counts))}
        found[name] = Split(len(rows), before.get(name), ordered, hashes.get(name))
    return found


def _place(split: str) -> tuple[int, str]:
    """The usual splits in the usual order, others behind."""
    return (_ORDER.index(split) if split in _ORDER else len(_ORDER)), split


def _label_set(rows: Any) -> list[str]:
    return list(rows[0]["choices"]) if len(rows) and "choices" in rows.column_names else []


def _before_cleaning(fin: dict[str, Any]) -> dict[str, int]:
    if not fin.get("rows") or fin.get("data") != "real":
        return {}
    from fin_plugins.data.published import committed

    return {name: int(split["rows_before_cleaning"]) for name, split in committed(fin["rows"])["splits"].items()}


def _floor(task: "ConfigurableTask") -> dict[str, Any] | None:
    rows = task.dataset.get(task.config.test_split or "")
    if rows is None or not {"gold", "choices"} <= set(rows.column_names) or not len(rows):
        return None
    from fin_plugins.stats.metrics import majority_floor

    labels, gold = _label_set(rows), list(rows["gold"])
    scores = majority_floor(gold, len(labels))
    most = labels[max(range(len(labels)), key=gold.count)]
    return {"label": most, "acc": scores.acc, "weighted_f1": scores.weighted_f1, "macro_f1": scores.macro_f1}


def _shown(task: "ConfigurableTask", split: str, row: int, model: str | None) -> Shown:
    plain = prompt(task, split, row)
    document = task.dataset[split][row]
    named = model or _demo_model()
    lm = _tokenizer(named) if named else None
    chat = prompt(task, split, row, lm) if lm and lm.tokenizer.chat_template else None
    without = f"{named} has none" if named else "name a model with --model"
    return Shown(
        *(split, row, document.get("id"), document.get("label"), plain, chat),
        chat_model=Path(named).name if named and chat else None,
        no_chat=None if chat else without,
    )


def _demo_model() -> str | None:
    from fin_plugins.demo.model import model_folder

    return str(model_folder()) if (model_folder() / "config.json").is_file() else None


def _tokenizer(model: str) -> Any:
    from fin_plugins.evaluation.prompts import PromptLM

    try:
        return PromptLM("hf", {"pretrained": model})
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FinError(f"--model {model}: its tokenizer cannot be loaded ({reason})") from error
