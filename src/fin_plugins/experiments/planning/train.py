"""The step that trains one adapter."""

import math
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import is_file
from fin_plugins.common.hashing import hash_files
from fin_plugins.experiments.config import Training
from fin_plugins.experiments.files.settings import as_settings, training_settings
from fin_plugins.experiments.planning.identity import key
from fin_plugins.experiments.planning.scene import Made, Scene
from fin_plugins.experiments.steps import Step, marker
from fin_plugins.training.config import TaskShare, TrainConfig
from fin_plugins.training.files.read import read_config

# What cannot change the adapter: where it goes, and what is written beside it.
_NO_PART = {"output", "merge", "model", "tasks", "replay"}


def train(scene: Scene, name: str, seed: int) -> Made:
    """Plan a training.

    Args:
        scene: the base model.
        name: of the training.
        seed: its seed.

    Raises:
        FinError: a task is not there, or its rows cannot be read.
        Problems: all that is wrong with the training file.
    """
    training, label = scene.config.training[name], scene.label(name, seed)
    config, settings = _configured(scene, training, seed)
    its_key = key(kind="train", base=scene.content, **_depends_on(scene, config))
    step_name, folder = f"train-{scene.name}-{label}", f"train/{label}-{its_key}"
    words = [word for setting in settings for word in ("--set", setting)]
    is_adapter = config.method != "full"
    step = Step(
        name=step_name,
        kind="train",
        key=its_key,
        command=("fin", "train", training.file, *words, "--out", folder),
        needs=(),
        markers=(marker(step_name, its_key),),
        outputs=(f"{folder}/{'adapter_config.json' if is_adapter else 'config.json'}", f"{folder}/train.json"),
        resources=scene.resources("train"),
        parameters=scene.size.parameters,
        rows=_rows(scene, config),
        bytes=scene.size.adapter(config.lora.r) if is_adapter else scene.size.bytes,
    )
    return Made(label, folder, step, is_adapter, config.lora.r, tuple(share.task for share in config.tasks))


def _configured(scene: Scene, training: Training, seed: int) -> tuple[TrainConfig, list[str]]:
    """The training file for this model and seed, and the changes that make it so."""
    settings = [*training_settings(training, scene.model), *as_settings({"model": scene.path, "seed": seed})]
    config = read_config(training.file, settings).config
    cap = scene.config.rows.train
    if cap is None or all(share.cap is not None for share in config.tasks):
        return config, settings
    capped = [share.model_copy(update={"cap": share.cap or cap}) for share in config.tasks]
    settings += as_settings({"tasks": [share.model_dump(mode="json", exclude_defaults=True) for share in capped]})
    return read_config(training.file, settings).config, settings


def _depends_on(scene: Scene, config: TrainConfig) -> dict[str, Any]:
    said = config.model_dump(mode="json", exclude=_NO_PART)
    shares = [(share.model_dump(exclude={"task"}), _contents(scene, share)) for share in config.tasks]
    return {"config": said, "tasks": shares, "replay": _replay(config)}


def _contents(scene: Scene, share: TaskShare) -> list[Any]:
    return [task.trained() for task in scene.tasks.trained(share.task)]


def _replay(config: TrainConfig) -> Any:
    """What it says; files of rows by their content."""
    said = config.replay.model_dump(mode="json") if config.replay else {}
    return {name: _content(value) if isinstance(value, str) else value for name, value in said.items()}


def _content(text: str) -> Any:
    return list(hash_files([Path(text)], Path(text).parent).values()) if is_file(text) else text


def _rows(scene: Scene, config: TrainConfig) -> int:
    """Train rows times epochs, or what fits into `max_steps`, and validation rows times checkpoints."""
    rows = sum(_rows_of(scene, share) for share in config.tasks) * (1 + (config.replay.ratio if config.replay else 0))
    wanted = math.ceil(rows * config.epochs)
    most = (config.max_steps or wanted) * config.batch_size * config.gradient_accumulation
    return min(wanted, most) + _validation_rows(scene, config)


def _validation_rows(scene: Scene, config: TrainConfig) -> int:
    if config.validation is None:
        return 0
    found = [task.rows("validation") for share in config.tasks for task in scene.tasks.trained(share.task)]
    rows = sum(min(split.count, config.validation.rows) for split in found if split)
    return rows * (1 + math.ceil(config.epochs * config.checkpoints_per_epoch))  # once before training


def _rows_of(scene: Scene, share: TaskShare) -> int:
    found = [task.rows("training") for task in scene.tasks.trained(share.task)]
    counts = [split.count if split else 0 for split in found]
    return sum(min(count, share.cap or count) for count in counts) * share.repeat
