"""What an experiment needs before its first step, and what of this machine its steps may take."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.data.sources import Dataset
from fin_plugins.experiments.config import Experiment
from fin_plugins.experiments.running import gpus
from fin_plugins.experiments.running.snakemake import Limits
from fin_plugins.experiments.steps import Step

_GIB = 2**30 / 1e9


def limits(cores: int | None, memory_gb: float | None, devices: int | None) -> Limits:
    """What steps may take: as said, else all that this machine has.

    Raises:
        FinError: more devices are asked for than there are.
    """
    from fin_plugins.training.report import machine

    there = gpus.devices()
    if devices is not None and devices > len(there):
        raise FinError(f"--gpus {devices}: this machine has {len(there)} (nvidia-smi -L, CUDA_VISIBLE_DEVICES)")
    memory = memory_gb or (machine.memory_gib() or 8) * _GIB
    return Limits(cores or machine.cores(), memory, tuple(there if devices is None else there[:devices]))


def check_disk(steps: Iterable[Step], work: Path) -> list[str]:
    """A remark where the disk will not hold what steps write, as far as that can be told before."""
    free = shutil.disk_usage(next(folder for folder in (work, *work.parents) if folder.is_dir())).free
    needed = sum(step.bytes for step in steps)
    if needed <= free:
        return []
    return [f"{work}: {free / 1e9:.0f} GB free there, and the steps write about {needed / 1e9:.0f} GB"]


def check_fit(steps: Iterable[Step], limits: Limits) -> list[str]:
    """Check that each step can run here by itself, and say what will not go as declared.

    Raises:
        FinError: a step needs more devices than there are.
    """
    steps, remarks = list(steps), []
    for step in steps:
        if step.resources.gpus > len(limits.gpus):
            raise FinError(
                f"{step.name}: takes {step.resources.gpus} GPUs, and there are {len(limits.gpus)} here: set "
                f"resources.{step.kind}.gpus=0, or run on a cluster with --profile"
            )
    big = [step.name for step in steps if step.resources.memory_gb > limits.memory_gb]
    if big:
        remarks.append(f"{', '.join(big)}: declared to take more memory than the {limits.memory_gb:.0f} GB here; tried")
    if limits.gpus and steps and not any(step.resources.gpus for step in steps):
        remarks.append("no step declares a GPU, so none is used: set resources.train.gpus=1, resources.score.gpus=1 …")
    return remarks


def fetch(config: Experiment) -> None:
    """Have everything there that steps would else each look for: real rows, and the demo model.

    Raises:
        FinError: it cannot be fetched.
    """
    from fin_plugins.data import pipeline, progress, store

    missing = [one for one in _datasets(config) if store.current(one) is None] if config.rows.data == "real" else []
    if missing:
        files = pipeline.needed(missing)
        title = f"fetching {', '.join(dataset.task for dataset in missing)}"
        with progress.overall(sum(source.bytes for source in files), title) as on_bytes:
            pipeline.fetch_raw(missing, None, on_bytes, progress.say_file)
        for dataset in missing:
            pipeline.build_if_needed(dataset)
    if any(model.model == "demo" for model in config.models.values()):
        from fin_plugins.demo.model import demo_model

        demo_model()


def _datasets(config: Experiment) -> list[Dataset]:
    """The shipped data sets that are trained on or scored."""
    from fin_plugins.data.sources import find
    from fin_plugins.experiments.files import tasks
    from fin_plugins.experiments.files.trainings import read_training

    model = next(iter(config.models.values()))
    names = [*config.tasks.seen, *config.tasks.unseen]
    names += [share.task for one in config.training.values() for share in read_training(one, model).tasks]
    rows = [task.fin.get("rows") for name in names for task in tasks.found(name)]
    return [find(name) for name in dict.fromkeys(rows) if name]
