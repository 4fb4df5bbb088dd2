"""The card of a task: labels, splits, floor, licence, hashes, and the prompt of one row as lm-eval makes it."""

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.catalogue.task_search import TaskEntry
from fin_plugins.checks.template_sandbox import sandbox_lm_eval_templates
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.hashing import digest
from fin_plugins.common.logs import silence_loggers
from fin_plugins.compat.lm_eval.tasks import TaskIndex

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

_SPLIT_ORDER = ("train", "fewshot", "validation", "test")
_SIDES = {True: "seen", False: "unseen", None: "does not say whether seen or unseen"}
_PROTOCOLS = {
    "choice": "choice: the likelihood of the labels is compared",
    "gen": "gen: the model answers freely, and the answer is parsed",
}
_ORIGINS = {"real": "real rows", "sample": "embedded sample rows (FIN_DATA=sample), not the data set"}
_HASH_DIGITS = 12
_RULE = "─" * 72


@dataclass(frozen=True)
class SplitCard:
    """One split.

    Attributes:
        rows: rows after cleaning.
        before_cleaning: rows before cleaning; None if unknown.
        labels: rows by label, in the task's order.
        sha256: content hash of the rows; None if the loader gives none.
    """

    rows: int
    before_cleaning: int | None
    labels: dict[str, int]
    sha256: str | None


@dataclass(frozen=True)
class Prompt:
    """The prompt of a row, and the answers compared.

    Attributes:
        text: the complete prompt.
        answers: the continuations whose likelihoods are compared; empty if the model answers freely.
    """

    text: str
    answers: list[str]


@dataclass(frozen=True)
class ExamplePrompt:
    """The prompt of one row.

    Attributes:
        split: split of the row.
        row: number of the row, from 0.
        id: id of the row.
        label: the right answer.
        plain: the prompt without a chat template.
        chat: the prompt in a chat template; None if there is none.
        chat_model: the model of that template.
        no_chat: why there is no chat template.
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
    """The card of a task.

    Attributes:
        name: name in lm-eval.
        about: description in the file.
        file: the YAML file.
        file_sha256: hash of the task file's data, includes applied, regardless of comments and order.
        protocol: `choice` or `gen`.
        seen: whether models are trained on it; None if the file does not state it.
        groups: groups and tags.
        language: language of the texts.
        source: source of the data.
        licence: licence of the data.
        citation: paper to cite.
        data: `real` or `sample`.
        splits: by name.
        left_out: rows that the loader left out, by reason; empty if it does not count them.
        floor: scores, from 0 to 1, of always answering the most frequent test label, which is `label`.
        fewshot_split: split of the few-shot examples.
        prompt: the prompt of one row.
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
    splits: dict[str, SplitCard]
    left_out: dict[str, int]
    floor: dict[str, Any] | None
    fewshot_split: str | None
    prompt: ExamplePrompt


def build_card(entry: TaskEntry, split: str | None, row: int, model: str | None) -> TaskCard:
    """Build the card of a task.

    Args:
        entry: the task.
        split: split of the row whose prompt is shown; None for the test split.
        row: number of that row, from 0.
        model: folder or hub name of the model whose chat template is used; None for the demo model, if it is present.

    Raises:
        FinError: the rows cannot be read, lm-eval cannot load the task, or there is no such row or model.
    """
    task = load_lm_eval_task(entry.file.path, entry.name)
    fin = dict((task.config.metadata or {}).get("fin") or {})
    return TaskCard(
        name=entry.name,
        about=entry.description,
        file=str(entry.file.path),
        file_sha256=digest(entry.file.data),
        protocol=entry.protocol,
        groups=list(entry.groups),
        data=fin.get("data"),
        splits=_split_cards(task, fin),
        left_out=dict(fin.get("rows_dropped") or {}),
        floor=_majority_floor(task),
        fewshot_split=task.config.fewshot_split,
        prompt=_example_prompt(task, split or task.config.test_split or task.config.validation_split, row, model),
        **{key: fin.get(key) for key in ("seen", "language", "source", "licence", "citation")},
    )


def load_lm_eval_task(file: Path, name: str) -> "ConfigurableTask":
    """lm-eval's task object of a file.

    Raises:
        FinError: its rows cannot be read, or lm-eval cannot load the task.
    """
    index = TaskIndex()
    index.add_file(file, name)
    try:
        # lm_eval.api.task explains --metadata for every custom data set.
        with silence_loggers("lm_eval.api.task"), sandbox_lm_eval_templates():
            return index.load(name)[name]
    except FinError:
        raise
    except Exception as error:  # a wrong key may raise anything, deep inside lm-eval
        message = next(iter(str(error).splitlines()), "")
        raise FinError(
            f"{file}: lm-eval cannot load the task ({type(error).__name__}: {message}); "
            f"`fin task check {file}` may say why"
        ) from error


def make_prompt(task: "ConfigurableTask", split: str, row: int, lm: Any | None = None) -> Prompt:
    """The zero-shot prompt of a row.

    Args:
        task: the loaded task.
        split: split of the row.
        row: number of the row, from 0.
        lm: an lm-eval model whose chat template is used; None for the plain prompt.

    Raises:
        FinError: there is no such split or row, or lm-eval cannot make the prompt.
    """
    if split not in task.dataset:
        raise FinError(f"{task.config.task}: no split {split}; there are {', '.join(task.dataset)}")
    if row >= len(task.dataset[split]):
        size = f"{len(task.dataset[split]):,}"
        raise FinError(f"{task.config.task}: --row {row}: {split} has {size} rows, counted from 0")
    test_split, task.config.test_split = task.config.test_split, split
    try:
        # lm-eval's progress bar cannot be turned off.
        with redirect_stderr(io.StringIO()), sandbox_lm_eval_templates():
            task.build_all_requests(
                samples=[row],
                apply_chat_template=lm is not None,
                fewshot_as_multiturn=lm is not None,  # like lm-eval's command line
                chat_template=lm.apply_chat_template if lm else None,
                tokenizer_name=lm.tokenizer_name if lm else "",
            )
    except Exception as error:  # a template may raise anything
        raise FinError(f"{task.config.task}: no prompt can be made of row {row} ({first_line(error)})") from error
    finally:
        task.config.test_split = test_split
    is_choice = task.OUTPUT_TYPE == "multiple_choice"
    answers = [str(request.args[1]) for request in task.instances] if is_choice else []
    return Prompt(str(task.instances[0].args[0]), answers)


def format_card(card: TaskCard) -> str:
    """The card for people."""
    sections = (_format_facts(card), [""], _format_splits(card), [""], _format_floor(card), _format_prompt(card))
    return "\n".join(line for section in sections for line in section)


def _split_cards(task: "ConfigurableTask", fin: dict[str, Any]) -> dict[str, SplitCard]:
    hashes, before_cleaning = fin.get("content_hash") or {}, _rows_before_cleaning(fin)
    cards = {}
    for name in sorted(task.dataset, key=_split_position):
        rows = task.dataset[name]
        counts = Counter(rows["label"]) if "label" in rows.column_names else Counter()
        labels = {label: counts[label] for label in _label_set(rows) or sorted(map(str, counts))}
        cards[name] = SplitCard(len(rows), before_cleaning.get(name), labels, hashes.get(name))
    return cards


def _split_position(split: str) -> tuple[int, str]:
    """Sort key: the usual splits first."""
    return (_SPLIT_ORDER.index(split) if split in _SPLIT_ORDER else len(_SPLIT_ORDER)), split


def _label_set(rows: Any) -> list[str]:
    return list(rows[0]["choices"]) if len(rows) and "choices" in rows.column_names else []


def _rows_before_cleaning(fin: dict[str, Any]) -> dict[str, int]:
    if not fin.get("rows") or fin.get("data") != "real":
        return {}
    from fin_plugins.data.data_cards import bundled_card

    return {name: int(split["rows_before_cleaning"]) for name, split in bundled_card(fin["rows"])["splits"].items()}


def _majority_floor(task: "ConfigurableTask") -> dict[str, Any] | None:
    rows = task.dataset.get(task.config.test_split or "")
    if rows is None or not {"gold", "choices"} <= set(rows.column_names) or not len(rows):
        return None
    from fin_plugins.stats.metrics import majority_floor

    labels, gold = _label_set(rows), list(rows["gold"])
    scores = majority_floor(gold, len(labels))
    majority = labels[max(range(len(labels)), key=gold.count)]
    return {"label": majority, "acc": scores.acc, "weighted_f1": scores.weighted_f1, "macro_f1": scores.macro_f1}


def _example_prompt(task: "ConfigurableTask", split: str, row: int, model: str | None) -> ExamplePrompt:
    plain = make_prompt(task, split, row)
    document = task.dataset[split][row]
    name = model or _demo_model()
    lm = _load_tokenizer(name) if name else None
    chat = make_prompt(task, split, row, lm) if lm and lm.tokenizer.chat_template else None
    reason = f"{name} has none" if name else "name a model with --model"
    return ExamplePrompt(
        split=split,
        row=row,
        id=document.get("id"),
        label=document.get("label"),
        plain=plain,
        chat=chat,
        chat_model=Path(name).name if name and chat else None,
        no_chat=None if chat else reason,
    )


def _demo_model() -> str | None:
    from fin_plugins.demo import model_folder

    return str(model_folder()) if (model_folder() / "config.json").is_file() else None


def _load_tokenizer(model: str) -> Any:
    from fin_plugins.evaluation.prompt_lm import PromptLM

    try:
        return PromptLM("hf", {"pretrained": model})
    except (OSError, ValueError) as error:
        raise FinError(f"--model {model}: its tokenizer cannot be loaded ({first_line(error)})") from error


def _format_facts(card: TaskCard) -> Iterator[str]:
    yield card.name + (f" · {card.about}" if card.about else "")
    facts = {
        "protocol": _PROTOCOLS.get(card.protocol, card.protocol),
        "side": _SIDES[card.seen],
        "groups": ", ".join(card.groups) or "none",
        "licence": card.licence or "not stated",
        "source": card.source or "not stated",
        "citation": card.citation,
        "language": card.language,
        "data": _ORIGINS.get(card.data or "", card.data),
        "few-shot": f"examples come from the split {card.fewshot_split}" if card.fewshot_split else "no split for it",
        "file": f"{card.file}, sha256 {card.file_sha256[:_HASH_DIGITS]}",
    }
    yield from (f"  {name:<9} {fact}" for name, fact in facts.items() if fact)


def _format_splits(card: TaskCard) -> Iterator[str]:
    splits = card.splits.values()
    labels = list(dict.fromkeys(label for split in splits for label in split.labels))
    width = max(map(len, ["before cleaning", *labels]))
    yield f"{'rows':<{width}}" + "".join(f"{name:>18}" for name in card.splits)
    for label in labels:
        yield f"{label:<{width}}" + "".join(_format_share(split, label) for split in splits)
    yield f"{'all':<{width}}" + "".join(f"{split.rows:>10,}{'':8}" for split in splits)
    before = [split.before_cleaning for split in splits]
    if any(before):
        yield f"{'before cleaning':<{width}}" + "".join(f"{rows:>10,}{'':8}" if rows else " " * 18 for rows in before)
    yield f"{'sha256':<{width}}" + "".join(f"{(split.sha256 or '')[:_HASH_DIGITS]:>18}" for split in splits)
    for reason, count in card.left_out.items():
        if count:
            yield f"left out ({reason.replace('_', ' ')}): {count:,}"


def _format_share(split: SplitCard, label: str) -> str:
    count = split.labels.get(label, 0)
    share = f"({count / split.rows:.1%})" if split.rows else ""
    return f"{count:>10,} {share:<7}"


def _format_floor(card: TaskCard) -> Iterator[str]:
    if card.floor:
        metrics = (("accuracy", "acc"), ("weighted F1", "weighted_f1"), ("macro F1", "macro_f1"))
        scores = ", ".join(f"{name} {card.floor[key]:.1%}" for name, key in metrics)
        yield f"always answering {card.floor['label']} on the test rows: {scores}"
        yield ""


def _format_prompt(card: TaskCard) -> Iterator[str]:
    example = card.prompt
    facts = ", ".join(f"{name} {value}" for name, value in (("id", example.id), ("label", example.label)) if value)
    yield f"prompt of {example.split} row {example.row}" + (f" ({facts})" if facts else "") + ", plain:"
    yield from (_RULE, example.plain.text, _RULE)
    if example.chat:
        yield f"the same in the chat template of {example.chat_model}:"
        yield from (_RULE, example.chat.text, _RULE)
    else:
        yield f"in no chat template ({example.no_chat})"
    answers = (example.chat or example.plain).answers
    if answers:
        yield "answers compared: " + ", ".join(map(repr, answers))
