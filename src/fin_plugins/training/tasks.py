"""The tasks of a training file, as lm-eval's own objects, with their test rows left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.data import guard
from fin_plugins.training.files.task_rules import no_label, no_train_rows
from fin_plugins.training.quiet import quiet

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
    manager = _manager(names)
    found = {name: [_checked(task) for task in _load(manager, name)] for name in names}
    leaves = [task.name for tasks in found.values() for task in tasks]
    twice = sorted({name for name in leaves if leaves.count(name) > 1})
    if twice:
        raise FinError(f"tasks: {', '.join(twice)} would be trained on twice: name it once, and use repeat or weight")
    return found


def _manager(names: Sequence[str]) -> Any:
    from lm_eval.tasks import TaskManager

    ours = TaskManager(include_defaults=False, include_path=str(task_folder()))
    paths = [name for name in names if Path(name).suffix in (".yaml", ".yml")]
    known = set(ours.task_index) | set(paths)
    # lm-eval's own fifteen thousand files are read (5 s) only where a name is none of ours.
    return ours if set(names) <= known else TaskManager(include_path=str(task_folder()))


def _load(manager: Any, name: str) -> "list[ConfigurableTask]":
    from lm_eval.tasks._index import TaskIndex

    if name not in manager.task_index and Path(name).is_file():
        name = _indexed(manager, Path(name))
    if name not in manager.task_index:
        raise FinError(f"tasks: {name}: no such task; `fin eval ls tasks` lists all names")
    # A group hands its overrides down to every task below it, however deep.
    closed = {"group": _GROUP, "task": [name], "test_split": _stand_in(manager.task_index[name])}
    manager.task_index[_GROUP] = TaskIndex.entry_from_config(closed)
    try:
        with quiet("lm_eval.api.task"):  # it explains --metadata at every custom data set
            return list(manager.load([_GROUP])["tasks"].values())
    except OSError as error:
        raise FinError(f"tasks: {name}: its rows cannot be loaded ({error})") from error
    except (KeyError, ValueError, AssertionError) as error:
        raise FinError(f"tasks: {name}: cannot be trained on: no validation and no train rows ({error})") from error


def _indexed(manager: Any, path: Path) -> str:
    """Make a file known to lm-eval, and beside a group's the other files of its folder, which may be its members.

    Returns:
        The task's or the group's name.
    """
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(path, resolve_func=False)
    if "group" not in config:
        entry = TaskIndex.entry_from_path(path)
        if entry is None:
            raise FinError(f"tasks: {path}: neither a task nor a group")
        manager.task_index[entry.name] = entry
        return str(entry.name)
    # `entry_from_path` takes a group's list of tasks for its name.
    manager.task_index.update(TaskIndex.build([path.resolve().parent]) | dict(manager.task_index))
    return str(config["group"])


def _stand_in(entry: Any) -> str | None:
    """What stands in for a task's test split while lm-eval loads it, which wants some rows to evaluate: its train rows.

    None for a group, whose tasks then need validation rows.
    """
    from lm_eval.tasks._index import Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    if entry.kind != Kind.TASK or not entry.yaml_path:
        return None
    split = load_yaml(entry.yaml_path, resolve_func=False).get("training_split")
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
