"""What an experiment may get wrong about tasks: which there are, how they are asked, which are seen."""

from collections.abc import Iterator
from pathlib import Path

from fin_plugins.catalogue.find import Found, shipped, task_at
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import Finding
from fin_plugins.common.yaml_file import dotted
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.experiments.config import Experiment
from fin_plugins.training.files.checks import check_names, our_tasks

_YAML = (".yaml", ".yml")
_TWIN = "_gen"


def found(name: str) -> list[Found]:
    """The tasks of ours, or of the user's own file, that a name, group or path stands for.

    Nothing for tasks of lm-eval, of which nothing is known here.

    Raises:
        FinError: a file is no task, or cannot be read.
    """
    if name.endswith(_YAML):
        return [task_at(Path(name))]
    tasks = shipped().tasks
    return [tasks[name]] if name in tasks else [task for task in tasks.values() if name in task.groups]


def names(name: str) -> list[str]:
    """The names of the tasks that a name, group or path stands for; none for a file that cannot be read."""
    try:
        return [task.name for task in found(name)] or [name]
    except FinError:
        return []


def check_tasks(config: Experiment) -> Iterator[Finding]:
    """Everything that is wrong with the tasks that are scored."""
    met: dict[str, Key] = {}
    for side, listed in (("seen", config.tasks.seen), ("unseen", config.tasks.unseen)):
        for number, name in enumerate(listed):
            key: Key = ("tasks", side, number)
            wrong = list(_task(name, generated="generation" in config.protocols))
            wrong = wrong or list(_side(name, side, met))
            yield from ((key, message) for message in wrong)
            met |= {task: key for task in names(name) if task not in met}


def _task(name: str, generated: bool) -> Iterator[str]:
    """What is wrong with one task by itself."""
    messages = [message for _, message in check_names({"tasks": [name]})]
    if messages:
        yield from messages
        return
    try:
        tasks = found(name)
    except FinError as error:
        yield str(error)
        return
    if name.endswith(_TWIN) or any(task.protocol == "gen" for task in tasks):
        choice = f", {name.removesuffix(_TWIN)}" if name.endswith(_TWIN) else ""
        yield f"{name}: answered freely: name the choice task{choice}; `protocols` says how tasks are asked"
    elif generated:
        yield from _twin(name, tasks)


def _twin(name: str, tasks: list[Found]) -> Iterator[str]:
    path = Path(name)
    there = path.with_stem(path.stem + _TWIN).is_file() if name.endswith(_YAML) else name + _TWIN in our_tasks()
    if not there:
        what = f"no {path.stem + _TWIN}{path.suffix}" + (" beside it" if tasks else "")
        yield f"{name}: has {what} for free answers: add one, or leave `generation` out of `protocols`"


def _side(name: str, side: str, met: dict[str, Key]) -> Iterator[str]:
    """Whether its tasks stand on the side that their files say, and there only."""
    again = {task: met[task] for task in names(name) if task in met}
    for task, key in again.items():
        yield f"{task}: named before, at {dotted(key)}"
    seen = {task.name: task.fin.get("seen") for task in found(name)}
    if other := [task for task, said in seen.items() if said is (side != "seen") and task not in again]:
        yield f"{', '.join(other)}: marked as {'unseen' if side == 'seen' else 'seen'} in the task's own file"
