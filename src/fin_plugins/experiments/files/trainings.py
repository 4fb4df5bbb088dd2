"""What an experiment may get wrong about its trainings: their files, what it changes in them, their tasks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fin_plugins.catalogue.find import Found
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import Finding
from fin_plugins.common.yaml_file import Problems
from fin_plugins.experiments.config import Experiment, Model, Training
from fin_plugins.experiments.files import settings, tasks
from fin_plugins.experiments.files.names import trainings_of
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.files.overrides import Override
from fin_plugins.training.files.read import read_config

_GIVEN = {"model": "`models`", "seed": "`seeds`", "output": "the experiment's own `output`"}
"""Keys of training files that the experiment gives, and where."""
_NO_ADAPTER = {"full": "trains all weights", "dora": "makes an adapter that no engine serves beside others"}
_DEMO = Override("models", ("model",), "demo")
"""In place of the training file's own model; the experiment's are looked at where it names them."""


@dataclass
class Trainings:
    """What came of checking them.

    Attributes:
        findings: everything that is wrong.
        tasks: the tasks of each training that can be read.
    """

    findings: list[Finding] = field(default_factory=list)
    tasks: dict[str, list[str]] = field(default_factory=dict)


def check_trainings(config: Experiment) -> Trainings:
    """Read the training file of every training, for every model that it is run for."""
    checked = Trainings(list(_given(config)))
    sides = (config.tasks.seen, config.tasks.unseen)
    seen, unseen = ({task for name in side for task in tasks.names(name)} for side in sides)
    for name, training in config.training.items():
        for model_name, model in _models(name, config):
            found = list(_check(name, training, model_name, model, unseen - seen))
            if not found:
                shares = read_training(training, model).tasks
                checked.tasks.setdefault(name, [task for share in shares for task in tasks.names(share.task)])
            checked.findings += found
    return checked


def _check(name: str, training: Training, model_name: str, model: Model, unseen: set[str]) -> Iterator[Finding]:
    try:
        read = read_training(training, model)
    except Problems as error:
        places = settings.places(training.set, ("training", name, "set"))
        places |= settings.places(model.settings, ("models", model_name, "settings"))
        yield from settings.findings(error.problems, places, ("training", name, "file"))
    except FinError as error:
        yield ("training", name, "file"), str(error)
    else:
        yield from _what_it_trains(name, training, read, unseen)


def read_training(training: Training, model: Model) -> TrainConfig:
    """The training file with what is changed in it for one model.

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: all that is wrong with it.
    """
    return read_config(training.file, settings.training_settings(training, model), [_DEMO]).config


def _models(training: str, config: Experiment) -> list[tuple[str, Model]]:
    """The models that it is run for; a training that is run for none is checked as well."""
    taking = [(name, model) for name, model in config.models.items() if training in trainings_of(model, config)]
    return taking or [("", Model(model="demo"))]


def _given(config: Experiment) -> Iterator[Finding]:
    levels = [(("training", name, "set"), one.set) for name, one in config.training.items()]
    levels += [(("models", name, "settings"), one.settings) for name, one in config.models.items()]
    for level, values in levels:
        yield from (((*level, key), f"leave it out: comes from {_GIVEN[key]}") for key in values if key in _GIVEN)


def _what_it_trains(name: str, training: Training, read: TrainConfig, unseen: set[str]) -> Iterator[Finding]:
    where = ("training", name, "set", "tasks") if "tasks" in training.set else ("training", name, "file")
    learned = {task for share in read.tasks for task in tasks.names(share.task)}
    if here := learned & unseen:
        yield where, f"trains on {', '.join(sorted(here))}, which this experiment scores as unseen"
    marked = {task.name for share in read.tasks for task in _found(share.task) if task.fin.get("seen") is False}
    if not read.allow_unseen and (more := marked - unseen):
        yield where, f"trains on {', '.join(sorted(more))}, marked as unseen: `fin train` refuses that"
    if read.method in _NO_ADAPTER:
        where = ("training", name, "set", "method") if "method" in training.set else ("training", name, "file")
        yield where, f"method: {read.method} {_NO_ADAPTER[read.method]}: use lora, rslora or qlora"


def _found(name: str) -> list[Found]:
    try:
        return tasks.found(name)
    except FinError:
        return []
