"""Tasks to train on, as lm-eval's own objects, without their test rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.common.logs import silence_loggers
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file
from fin_plugins.data import split_guard
from fin_plugins.training.config_checks import no_label_message, no_rows_message

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask


_GROUP = "fin_training"


@dataclass
class TrainingTask:
    """A task that can be trained on: multiple choice, with train rows."""

    name: str
    task: "ConfigurableTask"

    @property
    def fin(self) -> dict[str, Any]:
        """The task file's `metadata.fin` with the loader's entries; empty if there is none."""
        return dict((self.task.config.metadata or {}).get("fin") or {})

    @property
    def seen(self) -> bool | None:
        """Whether the task file marks the task as seen; None if it does not say."""
        seen = self.fin.get("seen")
        return None if seen is None else bool(seen)

    @property
    def dataset(self) -> str:
        """Name of the data set, for example `fomc`; the task's name if it is not one of ours."""
        return str(self.fin.get("rows", self.name))

    def documents(self, split: str) -> list[dict[str, Any]]:
        """The rows of `training` or `validation`; empty if the task has no such split."""
        name = getattr(self.task.config, f"{split}_split")
        return list(self.task.dataset[name]) if name and name in self.task.dataset else []

    def text(self, document: dict[str, Any]) -> str:
        """The text that identifies a row when looking for leaks: column `text`, else the prompt."""
        text = document.get("text")
        return text if isinstance(text, str) else str(self.task.doc_to_text(document))

    def gold(self, document: dict[str, Any]) -> int:
        """Index of the row's correct label.

        Raises:
            FinError: the row's label is none of the task's labels.
        """
        labels, target = self.task.doc_to_choice(document), self.task.doc_to_target(document)
        if isinstance(target, int) and 0 <= target < len(labels):
            return target
        if target in labels:
            return int(labels.index(target))
        raise FinError(f"tasks: {self.name}: a row has the label {target!r}, which is none of {', '.join(labels)}")

    def requests(self, split: str, lm: Any, chat: bool) -> "list[list[Instance]]":
        """lm-eval's requests for each row of a split, one per label.

        The split takes the place of the test split while lm-eval builds the requests, so the prompts equal those of
        an evaluation.

        Args:
            split: `training` or `validation`.
            lm: an lm-eval model, for its chat template.
            chat: whether to apply the chat template.
        """
        config = self.task.config
        config.test_split = getattr(config, f"{split}_split")
        try:
            self.task.build_all_requests(
                rank=0,
                world_size=1,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,  # the default of lm-eval's command line
                chat_template=lm.apply_chat_template if chat else None,
                tokenizer_name=lm.tokenizer_name if chat else "",
            )
        finally:
            config.test_split = None
        groups: dict[int, list[Instance]] = {}
        for request in self.task.instances:
            groups.setdefault(request.doc_id, []).append(request)
        return [groups[document] for document in sorted(groups)]


def load_tasks(names: Sequence[str]) -> dict[str, list[TrainingTask]]:
    """Load tasks and groups for training, without their test rows.

    Args:
        names: tasks, groups, tags, or paths of task YAML files.

    Returns:
        The tasks that each name stands for.

    Raises:
        FinError: the caller has not blocked the test rows; a name is unknown; a task is not multiple choice, has no
            train rows or is named twice.
    """
    if not split_guard.is_blocked():
        raise FinError("test rows must be blocked while training tasks are loaded (split_guard.block_test_split)")
    index = _task_index(names)
    tasks_by_name = {name: [_without_test_rows(task) for task in _load(index, name)] for name in names}
    loaded = [task.name for tasks in tasks_by_name.values() for task in tasks]
    duplicates = sorted({name for name in loaded if loaded.count(name) > 1})
    if duplicates:
        raise FinError(f"tasks: {', '.join(duplicates)} would be trained on twice: name it once, with repeat or weight")
    return tasks_by_name


def _task_index(names: Sequence[str]) -> TaskIndex:
    ours = TaskIndex([task_folder()])
    paths = [name for name in names if Path(name).suffix in (".yaml", ".yml")]
    known = set(ours) | set(paths)
    # Reading lm-eval's own fifteen thousand files takes 5 s.
    return ours if set(names) <= known else TaskIndex([task_folder()], defaults=True)


def _load(index: TaskIndex, name: str) -> "list[ConfigurableTask]":
    if name not in index and Path(name).is_file():
        name = _add_file(index, Path(name))
    if name not in index:
        raise FinError(f"tasks: {name}: no such task; `fin eval ls tasks` lists all names")
    # A group passes its overrides on to all tasks below it.
    index.add_group(_GROUP, [name], test_split=_substitute_test_split(index, name))
    try:
        with silence_loggers("lm_eval.api.task"):  # it explains --metadata for every custom data set
            return list(index.load(_GROUP).values())
    except OSError as error:
        raise FinError(f"tasks: {name}: its rows cannot be loaded ({error})") from error
    except (KeyError, ValueError, AssertionError) as error:
        raise FinError(f"tasks: {name}: cannot be trained on: no validation and no train rows ({error})") from error


def _add_file(index: TaskIndex, path: Path) -> str:
    """Add a task file to the index, or a group file with the other files of its folder; returns the name."""
    config = read_task_file(path)
    if "group" not in config:
        name = index.add_file(path)
        if name is None:
            raise FinError(f"tasks: {path}: neither a task nor a group")
        return name
    index.add_folder(path.resolve().parent)  # `add_file` would take a group's list of tasks for its name
    return str(config["group"])


def _substitute_test_split(index: TaskIndex, name: str) -> str | None:
    """The train split, which lm-eval loads as the test split, because it needs rows to evaluate.

    None for a group: its tasks need validation rows.
    """
    file = index.file(name)
    if file is None or not index.is_task(name):
        return None
    split = read_task_file(file).get("training_split")
    return None if split is None else str(split)


def _without_test_rows(task: "ConfigurableTask") -> TrainingTask:
    """The task with only its train and validation rows.

    Raises:
        FinError: the task cannot be trained on.
    """
    name = str(task.config.task)
    task.config.test_split = None
    for split in set(task.dataset) - {task.config.training_split, task.config.validation_split}:
        del task.dataset[split]
    if task.OUTPUT_TYPE != "multiple_choice":
        raise FinError(f"tasks: {no_label_message(name)}")
    training_task = TrainingTask(name, task)
    if not training_task.documents("training"):
        raise FinError(f"tasks: {no_rows_message(name)}")
    return training_task
