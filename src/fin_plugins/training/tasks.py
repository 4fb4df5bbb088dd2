"""The tasks of a training file, as lm-eval's own objects, with their test rows left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.common.logs import silence_loggers
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file
from fin_plugins.data import guard
from fin_plugins.training.files.task_rules import no_label, no_train_rows

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
        """What the task file says under `metadata.fin`, with the loader's entries; empty where it has none."""
        return dict((self.task.config.metadata or {}).get("fin") or {})

    @property
    def seen(self) -> bool | None:
        """Whether the task file calls the task seen; None where it does not say."""
        seen = self.fin.get("seen")
        return None if seen is None else bool(seen)

    @property
    def rows(self) -> str:
        """The data set, as in `fomc`; for a task that is not ours its own name."""
        return str(self.fin.get("rows", self.name))

    def documents(self, split: str) -> list[dict[str, Any]]:
        """The rows of `training` or `validation`; none where the task has no such split."""
        name = getattr(self.task.config, f"{split}_split")
        return list(self.task.dataset[name]) if name and name in self.task.dataset else []

    def text(self, document: dict[str, Any]) -> str:
        """What identifies a row, for finding leaks: its text, or where it has none by that name, its whole prompt."""
        text = document.get("text")
        return text if isinstance(text, str) else str(self.task.doc_to_text(document))

    def gold(self, document: dict[str, Any]) -> int:
        """The row's own label, as an index into the labels.

        Raises:
            FinError: it is none of them.
        """
        labels, target = self.task.doc_to_choice(document), self.task.doc_to_target(document)
        if isinstance(target, int) and 0 <= target < len(labels):
            return target
        if target in labels:
            return int(labels.index(target))
        raise FinError(f"tasks: {self.name}: a row has the label {target!r}, which is none of {', '.join(labels)}")

    def requests(self, split: str, lm: Any, chat: bool) -> "list[list[Instance]]":
        """What lm-eval would ask a model of each row of `training` or `validation`, one request a label.

        The split takes the place of the test split, and lm-eval builds its requests: so the prompts are those of an
        evaluation because the same code makes them.

        Args:
            split: `training` or `validation`.
            lm: An lm-eval model, for its chat template.
            chat: Whether the chat template is applied.
        """
        config = self.task.config
        config.test_split = getattr(config, f"{split}_split")
        try:
            self.task.build_all_requests(
                rank=0,
                world_size=1,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,  # as lm-eval's command line has it
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
    """Load tasks and groups for training; the test rows of none of them are kept.

    Args:
        names: Tasks, groups, tags, or paths of task YAMLs.

    Returns:
        The tasks that each name stands for.

    Raises:
        FinError: test rows are within reach (a mistake of the caller's); a name is unknown; a task is not multiple
            choice or has no train rows; a task is named twice.
    """
    if not guard.closed():
        raise FinError("training tasks are to be loaded with test rows out of reach (guard.test_rows_closed)")
    index = _index(names)
    found = {name: [_checked(task) for task in _load(index, name)] for name in names}
    leaves = [task.name for tasks in found.values() for task in tasks]
    twice = sorted({name for name in leaves if leaves.count(name) > 1})
    if twice:
        raise FinError(f"tasks: {', '.join(twice)} would be trained on twice: name it once, and use repeat or weight")
    return found


def _index(names: Sequence[str]) -> TaskIndex:
    ours = TaskIndex([task_folder()])
    paths = [name for name in names if Path(name).suffix in (".yaml", ".yml")]
    known = set(ours) | set(paths)
    # lm-eval's own fifteen thousand files are read (5 s) only where a name is none of ours.
    return ours if set(names) <= known else TaskIndex([task_folder()], defaults=True)


def _load(index: TaskIndex, name: str) -> "list[ConfigurableTask]":
    if name not in index and Path(name).is_file():
        name = _indexed(index, Path(name))
    if name not in index:
        raise FinError(f"tasks: {name}: no such task; `fin eval ls tasks` lists all names")
    # A group hands its overrides down to every task below it, however deep.
    index.add_group(_GROUP, [name], test_split=_stand_in(index, name))
    try:
        with silence_loggers("lm_eval.api.task"):  # it explains --metadata at every custom data set
            return list(index.load(_GROUP).values())
    except OSError as error:
        raise FinError(f"tasks: {name}: its rows cannot be loaded ({error})") from error
    except (KeyError, ValueError, AssertionError) as error:
        raise FinError(f"tasks: {name}: cannot be trained on: no validation and no train rows ({error})") from error


def _indexed(index: TaskIndex, path: Path) -> str:
    """Make a file known to lm-eval, and beside a group's the other files of its folder, which may be its members.

    Returns:
        The task's or the group's name.
    """
    config = read_task_file(path)
    if "group" not in config:
        name = index.add_file(path)
        if name is None:
            raise FinError(f"tasks: {path}: neither a task nor a group")
        return name
    index.add_folder(path.resolve().parent)  # `add_file` would take a group's list of tasks for its name
    return str(config["group"])


def _stand_in(index: TaskIndex, name: str) -> str | None:
    """What stands in for a task's test split while lm-eval loads it, which wants some rows to evaluate: its train rows.

    None for a group, whose tasks then need validation rows.
    """
    file = index.file(name)
    if file is None or not index.is_task(name):
        return None
    split = read_task_file(file).get("training_split")
    return None if split is None else str(split)


def _checked(task: "ConfigurableTask") -> TrainingTask:
    name = str(task.config.task)
    task.config.test_split = None
    test = set(task.dataset) - {task.config.training_split, task.config.validation_split}
    for split in test:
        del task.dataset[split]
    if task.OUTPUT_TYPE != "multiple_choice":
        raise FinError(f"tasks: {no_label(name)}")
    training = TrainingTask(name, task)
    if not training.documents("training"):
        raise FinError(f"tasks: {no_train_rows(name)}")
    return training
