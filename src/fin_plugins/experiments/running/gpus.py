"""GPUs of this machine, each for one step at a time."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fin_plugins.common import file_lock

SHARED_OUT = "FIN_RUN_GPUS"
"""Variable by which `fin run` tells its steps which devices it may share out; not there on a cluster, which does."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_EVERY = 0.5  # seconds between two looks for a free device


def devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The NVIDIA devices that may be used here, as CUDA_VISIBLE_DEVICES names them; no library is loaded for it."""
    if _VISIBLE in environment:
        return [device for device in environment[_VISIBLE].split(",") if device.strip() not in ("", "-1")]
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, so no device
        return []
    return [str(number) for number, _ in enumerate(line for line in told.splitlines() if line.startswith("GPU "))]


@contextmanager
def taken(count: int, folder: Path | None = None) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Hold so many devices, waiting until they are free.

    A step that declares none sees none: what is declared would not hold otherwise.

    Args:
        count: how many.
        folder: for the lock files; by default one of this machine, which all experiments share.

    Yields:
        Variables for the step's command, and the locks, which the command should inherit. Both empty where `fin run`
        shares nothing out: a cluster gives each job its devices by itself.
    """
    if SHARED_OUT not in os.environ:
        yield {}, []
        return
    known = [device for device in os.environ[SHARED_OUT].split(",") if device]
    folder = folder or Path(tempfile.gettempdir()) / f"fin-run-gpus-{os.getuid()}"
    with ExitStack() as stack:
        held: dict[str, int] = {}
        while len(held) < count:
            for device in known:
                if (
                    len(held) < count
                    and device not in held
                    and (descriptor := file_lock.try_lock(folder / f"{device}.lock"))
                ):
                    stack.callback(os.close, descriptor)
                    held[device] = descriptor
            if len(held) < count:
                time.sleep(_EVERY)
        yield {_VISIBLE: ",".join(held)}, list(held.values())
