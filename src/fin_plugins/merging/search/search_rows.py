"""The rows that score candidates: validation rows of the experts' tasks, and unlabelled prompts; never test rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest
from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file
from fin_plugins.data import split_guard
from fin_plugins.evaluation.prompt_lm import PromptLM
from fin_plugins.merging.search.search_config import SearchConfig
from fin_plugins.tasks.documents import escape_control_tokens
from fin_plugins.training.conversations import read_instructions
from fin_plugins.training.training_data import subsample
from fin_plugins.training.training_tasks import TrainingTask, load_tasks
from fin_plugins.training.validation_scores import ValidationRows


@dataclass(frozen=True)
class SearchRows:
    """The rows of a search.

    Attributes:
        tasks: validation rows by task.
        expert_tasks: names of each expert's tasks.
        prompts: unlabelled prompts as token ids.
        data_modes: `real`, `sample` or what the task declares, by task.
    """

    tasks: Mapping[str, ValidationRows]
    expert_tasks: Mapping[str, tuple[str, ...]]
    prompts: tuple[tuple[int, ...], ...]
    data_modes: Mapping[str, str]

    def hashes(self) -> dict[str, str]:
        """Hashes of the requests and labels of each task, and of the unlabelled prompts."""
        hashes = {}
        for name, rows in self.tasks.items():
            requests = [[request.args for request in row] for row in rows.requests]
            hashes[name] = digest([requests, list(rows.gold)])
        return {**hashes, "unlabelled": digest(self.prompts)}

    @property
    def labelled(self) -> int:
        """Number of validation rows."""
        return sum(len(rows.gold) for rows in self.tasks.values())

    @property
    def passes(self) -> int:
        """Maximum number of passes per candidate: every row with all experts and without one, and every prompt."""
        return 2 * self.labelled + len(self.prompts)


def read_search_rows(config: SearchConfig, base: Path) -> SearchRows:
    """Read and render the rows of a search; test rows must be blocked.

    Args:
        config: the search.
        base: folder of the base.

    Raises:
        FinError: test rows are not blocked (a mistake of the caller); a task is unknown, unseen, or has no validation
            rows apart from its test rows.
    """
    if not split_guard.is_blocked():
        raise FinError("weights must be searched while test rows are blocked (split_guard.block_test_split)")
    lm = PromptLM(config.model, {"pretrained": str(base), **config.model_args})
    chat = _use_chat_template(config, lm)
    expert_tasks: dict[str, list[TrainingTask]] = {}
    for name, expert in config.experts.items():
        for task_name in expert.tasks:
            _check_seen(task_name, _declared_seen(task_name))
        loaded = load_tasks(expert.tasks)
        expert_tasks[name] = [
            _check_splits(task, task_name) for task_name in expert.tasks for task in loaded[task_name]
        ]
    tasks = [task for of_expert in expert_tasks.values() for task in of_expert]
    names = [task.name for task in tasks]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise FinError(f"experts: {', '.join(repeated)}: belongs to two experts: a task belongs to one")
    return SearchRows(
        {task.name: _draw_validation_rows(task, config, lm, chat) for task in tasks},
        {name: tuple(task.name for task in of_expert) for name, of_expert in expert_tasks.items()},
        tuple(_draw_prompts(config, lm, chat)),
        {task.name: str(task.fin.get("data", "real")) for task in tasks},
    )


def _check_splits(task: TrainingTask, given_name: str) -> TrainingTask:
    """Check that a task's validation rows may be used, and return it.

    Raises:
        FinError: the task is unseen, or is tested on its validation rows.
    """
    _check_seen(task.name, task.seen)
    definition = _task_definition(given_name) or _task_definition(task.name)
    if not definition:
        raise FinError(f"tasks: {task.name} has no file that names its test split: give the task's YAML file")
    validation, test = (definition.get(f"{split}_split") for split in ("validation", "test"))
    if not validation:
        raise FinError(f"tasks: {task.name} has no validation rows to compare merges by: its file names no split")
    if test in (None, validation):  # without a test split, lm-eval tests on the validation rows
        raise FinError(f"tasks: {task.name} is tested on its validation rows, so they must not choose a merge")
    return task


def _check_seen(name: str, seen: bool | None) -> None:
    if seen is False:
        raise FinError(
            f"tasks: {name}: marked as unseen: it shows what merging does to a task that no choice was based on; use "
            "tasks that the experts were trained on"
        )


def _declared_seen(name: str) -> bool | None:
    """What a task's file declares, before any row is loaded; None if it does not, or for a group."""
    fin = (_task_definition(name).get("metadata") or {}).get("fin") or {}
    return fin.get("seen") if isinstance(fin, dict) else None


def _task_definition(name: str) -> Mapping[str, Any]:
    """Content of a task's file, which has more than the loaded task; empty for a group or an unknown name."""
    if Path(name).suffix in (".yaml", ".yml"):
        return read_task_file(name)
    bundled = _task_index(defaults=False)
    index = bundled if name in bundled else _task_index(defaults=True)
    file = index.file(name)
    return read_task_file(file) if file is not None and index.is_task(name) else {}


@cache
def _task_index(*, defaults: bool) -> TaskIndex:
    return TaskIndex([task_folder()], defaults=defaults)


def _draw_validation_rows(task: TrainingTask, config: SearchConfig, lm: PromptLM, chat: bool) -> ValidationRows:
    """The same rows that training validates on with the same seed and number."""
    gold = [task.gold(document) for document in task.documents("validation")]
    if not gold:
        raise FinError(f"tasks: {task.name} has no validation rows to compare merges by")
    rows = list(zip(task.requests("validation", lm, chat), gold, strict=True))
    chosen = subsample(rows, min(len(rows), config.rows), config.seed, f"{task.name} validation")
    return ValidationRows([requests for requests, _ in chosen], [label for _, label in chosen])


def _draw_prompts(config: SearchConfig, lm: PromptLM, chat: bool) -> Iterator[tuple[int, ...]]:
    texts = [escape_control_tokens(text) for text in read_instructions(config.unlabelled.instructions)]
    for text in subsample(texts, min(len(texts), config.unlabelled.rows), config.seed, "unlabelled"):
        rendered = lm.apply_chat_template([{"role": "user", "content": text}]) if chat else text
        yield tuple(lm.tok_encode(rendered)[-(lm.positions or 0) + 1 :])


def _use_chat_template(config: SearchConfig, lm: PromptLM) -> bool:
    has_template = lm.tokenizer.chat_template is not None
    if config.chat_template is True and not has_template:
        raise FinError(f"chat_template: true, but the tokenizer of {config.base} has none: use auto or false")
    return has_template if config.chat_template == "auto" else bool(config.chat_template)
