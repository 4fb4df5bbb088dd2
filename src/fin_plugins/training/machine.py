"""Versions, hardware, commit and memory of a run. Nothing names the host, a user or a path."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from fin_plugins import __version__
from fin_plugins.evaluation.cache_key import engine_device

_LIBRARIES = ("lm-eval", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers")
_GIB = 1 << 30
_PACKAGE = Path(__file__).resolve().parent.parent
# Other files (results, a user's training files) do not change what the code does.
_CODE = (".", ":(top)lm_eval_tasks", ":(top)training", ":(top)pyproject.toml")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries used in training; `none` if not installed."""
    installed = {"python": platform.python_version(), "fin-plugins": __version__}
    for name in _LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = "none"
    return installed


def hardware() -> dict[str, Any]:
    """The machine: `platform`, `cpu`, usable `cores`, `threads` of torch, `memory_gib`, names of `gpus`.

    Cores and memory respect a container's limits; memory is None if unknown.
    """
    import torch

    return {
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": engine_device("fin_hf", "cpu")["name"],
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": memory_gib(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def peak_memory() -> dict[str, int]:
    """Peak memory of this process in bytes: `host` (resident) and `cuda` (tensors, summed over devices)."""
    import torch

    peaks = {}
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peaks["host"] = peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
    if torch.cuda.is_available():
        peaks["cuda"] = sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
    return peaks


def commit(package: Path = _PACKAGE) -> str | None:
    """The commit of this package's repository, with `+changes` if the code differs; None if it is not in one.

    The package must be tracked by git: an installed one may lie within another project's repository.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head = _git(package, "rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("+changes" if _git(package, "status", "--porcelain", "--", *_CODE) else "")


def command_line() -> list[str]:
    """The command as typed, without the program's folder."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _git(folder: Path, *arguments: str) -> str | None:
    # Variables set by a git hook would point at another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one that git does not trust
        return None
    return process.stdout.strip()


def cores() -> int:
    """Number of usable cores, within affinity and a container's limits."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        usable = min(usable, max(1, round(int(quota) / int(period))))
    return usable


def memory_gib() -> float | None:
    """Usable memory, within a container's limit; None if unknown."""
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    limit = _limit("memory.max")
    return round(min(installed, int(limit) if limit.isdigit() else installed) / _GIB, 1)


def _limit(name: str) -> str:
    """A limit of the container (cgroup v2); empty if there is none."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
