"""The resources of this machine: limits for all steps together, checks against them, and GPU reservations by steps.

Snakemake counts GPUs within one run, so that steps wait instead of starting. It neither knows which devices are free
nor what other experiments on the machine use, so each step locks its devices here (`reserve_gpus`).
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import try_lock
from fin_plugins.experiments.step_plan import Step

GPUS_VARIABLE = "FIN_RUN_GPUS"
"""Environment variable with the devices that `fin run` shares among its steps; unset on a cluster."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_SECONDS = 0.5
_GIB = 2**30 / 1e9


@dataclass(frozen=True)
class Limits:
    """Resources that all running steps together may use.

    Attributes:
        cores: processor cores.
        memory_gb: main memory.
        gpus: devices, as named by CUDA_VISIBLE_DEVICES.
    """

    cores: int
    memory_gb: float
    gpus: tuple[str, ...]


def machine_limits(cores: int | None, memory_gb: float | None, gpus: int | None) -> Limits:
    """The limits given; all of this machine where one is None.

    Raises:
        FinError: there are fewer GPUs than requested.
    """
    from fin_plugins.training import machine

    devices = list_gpus()
    if gpus is not None and gpus > len(devices):
        raise FinError(f"--gpus {gpus}: this machine has {len(devices)} (nvidia-smi -L, CUDA_VISIBLE_DEVICES)")
    memory = memory_gb or (machine.memory_gib() or 8) * _GIB
    return Limits(cores or machine.cores(), memory, tuple(devices if gpus is None else devices[:gpus]))


def check_disk(steps: Iterable[Step], work: Path) -> list[str]:
    """A warning if the disk will not hold the estimated output of the steps."""
    free = shutil.disk_usage(next(folder for folder in (work, *work.parents) if folder.is_dir())).free
    needed = sum(step.bytes for step in steps)
    if needed <= free:
        return []
    return [f"{work}: {free / 1e9:.0f} GB free there, and the steps write about {needed / 1e9:.0f} GB"]


def check_fit(steps: Iterable[Step], limits: Limits) -> list[str]:
    """Warnings about steps that do not fit the machine as declared.

    Raises:
        FinError: a step needs more GPUs than there are.
    """
    steps, warnings = list(steps), []
    for step in steps:
        if step.resources.gpus > len(limits.gpus):
            raise FinError(
                f"{step.name}: needs {step.resources.gpus} GPUs, but {len(limits.gpus)} are available: set "
                f"resources.{step.kind}.gpus=0, or run on a cluster with --profile"
            )
    large = [step.name for step in steps if step.resources.memory_gb > limits.memory_gb]
    if large:
        names = ", ".join(large)
        warnings.append(f"{names}: declared to need more memory than the {limits.memory_gb:.0f} GB here; runs anyway")
    if limits.gpus and steps and not any(step.resources.gpus for step in steps):
        warnings.append("no step declares a GPU, so none is used: set resources.train.gpus=1, resources.score.gpus=1 …")
    return warnings


def list_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The NVIDIA devices usable here, as named by CUDA_VISIBLE_DEVICES; no GPU library is loaded."""
    if _VISIBLE in environment:
        return [device for device in environment[_VISIBLE].split(",") if device.strip() not in ("", "-1")]
    try:
        output = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, so no device
        return []
    return [str(index) for index, _ in enumerate(line for line in output.splitlines() if line.startswith("GPU "))]


@contextmanager
def reserve_gpus(count: int, folder: Path | None = None) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Reserve devices exclusively, waiting until enough are free.

    A step that declares no GPU sees none; otherwise the reservations of others would be void.

    Args:
        count: number of devices.
        folder: folder of the lock files; default: one for all experiments of this user on this machine.

    Yields:
        Environment variables for the step's command, and lock descriptors that it should inherit. Both are empty on a
        cluster, which assigns devices to jobs itself.
    """
    if GPUS_VARIABLE not in os.environ:
        yield {}, []
        return
    devices = [device for device in os.environ[GPUS_VARIABLE].split(",") if device]
    folder = folder or Path(tempfile.gettempdir()) / f"fin-run-gpus-{os.getuid()}"
    with ExitStack() as stack:
        reserved: dict[str, int] = {}
        while True:
            for device in devices:
                if len(reserved) == count:
                    break
                if device not in reserved and (descriptor := try_lock(folder / f"{device}.lock")) is not None:
                    stack.callback(os.close, descriptor)
                    reserved[device] = descriptor
            if len(reserved) >= count:
                break
            time.sleep(_POLL_SECONDS)
        yield {_VISIBLE: ",".join(reserved)}, list(reserved.values())
