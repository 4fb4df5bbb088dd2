"""What candidates are asked: validation rows of the experts' tasks, and prompts without labels. Never a test row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest
from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file
from fin_plugins.data import guard
from fin_plugins.evaluation.prompts import PromptLM
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.tasks.control_tokens import defuse
from fin_plugins.training.mixture import draw
from fin_plugins.training.replay.own import read_instructions
from fin_plugins.training.tasks import TrainingTask, load_tasks
from fin_plugins.training.validation import ValidationRows

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


@dataclass(frozen=True)
class SearchRows:
    """The rows of a search.

    Attributes:
        tasks: validation rows by task.
        experts: each expert's tasks.
        prompts: unlabelled prompts, in tokens.
        origin: `real`, `sample` or what the task says of its rows, by task.
    """

    tasks: Mapping[str, ValidationRows]
    experts: Mapping[str, tuple[str, ...]]
    prompts: tuple[tuple[int, ...], ...]
    origin: Mapping[str, str]

    def hashes(self) -> dict[str, str]:
        """Of what the model is asked: by task, and of the unlabelled prompts."""
        asked = {name: digest([_arguments(rows.requests), list(rows.gold)]) for name, rows in self.tasks.items()}
        return {**asked, "unlabelled": digest(self.prompts)}

    def documents(self) -> int:
        """Passes of a candidate at most: every row with all experts and once more without one, and every prompt."""
        return 2 * sum(len(rows.gold) for rows in self.tasks.values()) + len(self.prompts)


def read_rows(config: SearchConfig, base: Path) -> SearchRows:
    """Read and render what candidates are asked; to be called with test rows out of reach.

    Raises:
        FinError: test rows are within reach (a mistake of the caller's); a task is unknown, unseen, or has no
            validation rows apart from its test rows.
    """
    if not guard.closed():
        raise FinError("weights are to be searched with test rows out of reach (guard.test_rows_closed)")
    lm = PromptLM(config.model, {"pretrained": str(base), **config.model_args})
    chat = _chat(config, lm)
    found: dict[str, list[TrainingTask]] = {}
    for name, expert in config.experts.items():
        for given in expert.tasks:
            _check_seen(given, _seen(given))
        loaded = load_tasks(expert.tasks)
        found[name] = [_checked(task, given) for given in expert.tasks for task in loaded[given]]
    _check_once(found)
    tasks = [task for of_one in found.values() for task in of_one]
    return SearchRows(
        {task.name: _validation(task, config, lm, chat) for task in tasks},
        {name: tuple(task.name for task in of_one) for name, of_one in found.items()},
        tuple(_prompts(config, lm, chat)),
        {task.name: str(task.fin.get("data", "real")) for task in tasks},
    )


def _checked(task: TrainingTask, given: str) -> TrainingTask:
    """The task, where its validation rows may be looked at.

    Raises:
        FinError: it is marked as unseen, or is tested on the rows that it calls validation.
    """
    _check_seen(task.name, task.seen)
    definition = _definition(given) or _definition(task.name)
    if not definition:
        raise FinError(f"tasks: {task.name} has no file that says which rows are its test rows: name the task's YAML")
    validation, test = (definition.get(f"{split}_split") for split in ("validation", "test"))
    if not validation:
        raise FinError(f"tasks: {task.name} has no validation rows to compare merges by: its file names no split")
    if test in (None, validation):  # without a test split lm-eval tests on the validation rows
        raise FinError(f"tasks: {task.name} is tested on its validation rows: they may not choose a merge")
    return task


def _check_seen(name: str, seen: bool | None) -> None:
    if seen is False:
        raise FinError(
            f"tasks: {name}: marked as unseen: it is there to show what merging does to a task that nothing was "
            "chosen by; name tasks that the experts were trained on"
        )


def _seen(given: str) -> bool | None:
    """What a task's file says, before any row is loaded; None where it does not say, or for a group."""
    fin = (_definition(given).get("metadata") or {}).get("fin") or {}
    return fin.get("seen") if isinstance(fin, dict) else None


def _definition(name: str) -> Mapping[str, Any]:
    """What a task's file says, which is more than the loaded task knows; empty for a group or an unknown name."""
    if Path(name).suffix in (".yaml", ".yml"):
        return read_task_file(name)
    ours = _index(defaults=False)
    index = ours if name in ours else _index(defaults=True)
    file = index.file(name)
    return read_task_file(file) if file is not None and index.is_task(name) else {}


@cache
def _index(*, defaults: bool) -> TaskIndex:
    return TaskIndex([task_folder()], defaults=defaults)


def _check_once(found: Mapping[str, list[TrainingTask]]) -> None:
    names = [task.name for tasks in found.values() for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FinError(f"experts: {', '.join(twice)}: named by two: what is left out with an expert is its tasks")


def _validation(task: TrainingTask, config: SearchConfig, lm: PromptLM, chat: bool) -> ValidationRows:
    """The very rows that training validates on with the same seed and number."""
    gold = [task.gold(document) for document in task.documents("validation")]
    if not gold:
        raise FinError(f"tasks: {task.name} has no validation rows to compare merges by")
    rows = list(zip(task.requests("validation", lm, chat), gold, strict=True))
    chosen = draw(rows, min(len(rows), config.rows), config.seed, f"{task.name} validation")
    return ValidationRows([requests for requests, _ in chosen], [gold for _, gold in chosen])


def _prompts(config: SearchConfig, lm: PromptLM, chat: bool) -> Iterator[tuple[int, ...]]:
    texts = [defuse(text) for text in read_instructions(config.unlabelled.instructions)]
    for text in draw(texts, min(len(texts), config.unlabelled.rows), config.seed, "unlabelled"):
        rendered = lm.apply_chat_template([{"role": "user", "content": text}]) if chat else text
        yield tuple(lm.tok_encode(rendered)[-(lm.positions or 0) + 1 :])


def _chat(config: SearchConfig, lm: PromptLM) -> bool:
    has = lm.tokenizer.chat_template is not None
    if config.chat_template is True and not has:
        raise FinError(f"chat_template: true, but the tokenizer of {config.base} has none: use auto or false")
    return has if config.chat_template == "auto" else bool(config.chat_template)


def _arguments(rows: "Any[Instance]") -> list[list[Any]]:
    return [[one.args for one in row] for row in rows]
