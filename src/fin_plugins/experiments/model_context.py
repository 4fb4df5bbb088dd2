"""What all steps of one base model share: its path, content, size and settings; and how step keys are made."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.experiments.experiment_config import Experiment, Kind, Model, Resources
from fin_plugins.experiments.step_plan import Step
from fin_plugins.experiments.task_contents import TaskContents

_FORMAT = 1
"""Raised when steps of the same key make something different than before."""
_FLOAT32_BYTES = 4  # adapters are written in float32
_NOT_ADAPTED = ("embed", "lm_head", "wte", "wpe")


def step_key(**inputs: Any) -> str:
    """The key of a step: 12 hexadecimal digits, a hash of everything that its result depends on."""
    return digest({"format": _FORMAT, **inputs})[:12]


def model_content(path: str, revision: str | None = None) -> Any:
    """The content of a model that step keys depend on.

    A folder counts by its weights, tokenizer and chat template. A hub model counts by name and revision only, so that
    the plan is the same before and after the download; name a commit if the branch may move.

    Args:
        path: folder or hub name.
        revision: revision of a hub model.
    """
    folder = Path(path)
    if folder.is_dir() and revision is None:
        return digest(hash_files(model_files(folder), folder))
    return {"hub": path, "revision": revision}


@dataclass(frozen=True)
class ModelSize:
    """Size of a model; all zero if it is not on this machine.

    Attributes:
        parameters: number of parameters.
        bytes: size of its weight files.
        linear: sum of rows and columns of all matrices that an adapter changes by default.
    """

    parameters: int = 0
    bytes: int = 0
    linear: int = 0

    def adapter_bytes(self, rank: int) -> int:
        """Size of an adapter of this rank in bytes."""
        return rank * self.linear * _FLOAT32_BYTES


def model_size(model: str) -> ModelSize:
    """The size of a model in a folder, from the headers of its weight files; no weights are loaded."""
    from fin_plugins.evaluation.base_model import header_shapes

    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    shapes = {name: shape for file in files for name, shape in header_shapes(file).items()}
    linear = sum(
        sum(shape)
        for name, shape in shapes.items()
        if len(shape) == 2 and not any(part in name for part in _NOT_ADAPTED)
    )
    return ModelSize(sum(map(math.prod, shapes.values())), sum(file.stat().st_size for file in files), linear)


@dataclass(frozen=True)
class ModelArtifact:
    """An adapter or checkpoint that a step makes.

    Attributes:
        label: its name on the board and as an adapter.
        path: its folder, relative to the work folder.
        step: the step that makes it.
        is_adapter: whether it is an adapter of the base.
        rank: rank of the adapter.
        tasks: the tasks it was trained on, as in the training file.
    """

    label: str
    path: str
    step: Step
    is_adapter: bool
    rank: int = 0
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelContext:
    """An experiment from the point of view of one base model.

    Attributes:
        config: the experiment.
        tasks: its tasks.
        name: name of the base model.
        model: the experiment's entry for it.
        path: folder or hub name, as commands take it.
        content: its content for step keys.
        size: its size.
    """

    config: Experiment
    tasks: TaskContents
    name: str
    model: Model
    path: str
    content: Any
    size: ModelSize

    @property
    def shots(self) -> list[int]:
        """Few-shot counts with which the base model itself is scored."""
        shots = self.config.fewshot if self.model.fewshot is None else self.model.fewshot
        return list(dict.fromkeys(shots)) if self.model.score else []

    @property
    def chat_template(self) -> bool:
        """Whether prompts use its chat template."""
        override = self.model.chat_template
        return self.config.scoring.chat_template if override is None else override

    def label(self, name: str, seed: int) -> str:
        """Name of a training or merge on the board and as an adapter; has the seed if there are several."""
        return name if len(self.config.seeds) == 1 else f"{name}-s{seed}"

    def resources(self, kind: Kind) -> Resources:
        """Resources of a step of this kind."""
        return self.config.resources.get(kind, Resources())


def model_context(config: Experiment, tasks: TaskContents, name: str) -> ModelContext:
    """The context of one of the experiment's models.

    Training and merging commands do not take a revision: for a model with one they get the folder of its local
    snapshot, which is downloaded if needed.

    Raises:
        FinError: the demo model is not installed, or a snapshot cannot be downloaded.
    """
    model = config.models[name]
    path = _model_path(model)
    content = model_content(model.model if model.revision else path, model.revision)
    return ModelContext(config, tasks, name, model, path, content, model_size(path))


def _model_path(model: Model) -> str:
    from fin_plugins.demo import demo_model
    from fin_plugins.evaluation.cache_key import base_folder

    if model.model == "demo":
        return str(demo_model())
    if model.revision:
        return str(base_folder({"pretrained": model.model, "revision": model.revision}))
    folder = Path(model.model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model.model
