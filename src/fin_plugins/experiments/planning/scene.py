"""What all steps for one base model have in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.experiments.config import Experiment, Kind, Model, Resources
from fin_plugins.experiments.planning.identity import Tasks, model_content
from fin_plugins.experiments.planning.sizes import Size, size_of
from fin_plugins.experiments.steps import Step


@dataclass(frozen=True)
class Scene:
    """An experiment, seen from one of its base models.

    Attributes:
        config: the experiment.
        tasks: its tasks.
        name: the base model's.
        model: what the experiment says of it.
        path: folder or hub name, as commands take it.
        content: what tells it from other models.
        size: how large it is.
    """

    config: Experiment
    tasks: Tasks
    name: str
    model: Model
    path: str
    content: Any
    size: Size

    @property
    def shots(self) -> list[int]:
        """Few-shot counts with which the model is scored as it is."""
        given = self.config.fewshot if self.model.fewshot is None else self.model.fewshot
        return list(dict.fromkeys(given)) if self.model.score else []

    @property
    def chat_template(self) -> bool:
        """Whether prompts are in its chat template."""
        own = self.model.chat_template
        return self.config.scoring.chat_template if own is None else own

    def label(self, name: str, seed: int) -> str:
        """What a training or merge is called on the board and as an adapter; the seed only where there are several."""
        return name if len(self.config.seeds) == 1 else f"{name}-s{seed}"

    def resources(self, kind: Kind) -> Resources:
        """What a step of a kind takes."""
        return self.config.resources.get(kind, Resources())


@dataclass(frozen=True)
class Made:
    """A model that a step makes.

    Attributes:
        label: its name on the board and as an adapter.
        path: folder of the adapter or checkpoint below the work folder.
        step: what makes it.
        adapter: whether it is an adapter of the base.
        rank: of that adapter.
        tasks: what it was trained on, as the training file has it.
    """

    label: str
    path: str
    step: Step
    adapter: bool
    rank: int = 0
    tasks: tuple[str, ...] = ()


def scene(config: Experiment, tasks: Tasks, name: str) -> Scene:
    """Look at one of the experiment's models.

    Commands of training and merging take no revision: of a model with one, they get the folder of its local snapshot,
    which is downloaded now where it is not there.

    Raises:
        FinError: the demo model is not installed, or a snapshot cannot be had.
    """
    model = config.models[name]
    path = _path(model)
    hub = model.model if model.revision else path
    return Scene(config, tasks, name, model, path, model_content(hub, model.revision), size_of(path))


def _path(model: Model) -> str:
    from fin_plugins.demo.model import demo_model
    from fin_plugins.evaluation.identity import base_folder

    if model.model == "demo":
        return str(demo_model())
    if model.revision:
        return str(base_folder({"pretrained": model.model, "revision": model.revision}))
    folder = Path(model.model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model.model
