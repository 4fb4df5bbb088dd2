"""What a run ran on and with: versions, hardware, commit, peak memory. Nothing names the host, a user or a path."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from fin_plugins import __version__
from fin_plugins.evaluation.identity import device_of

_LIBRARIES = ("lm-eval", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers")
_GIB = 1 << 30
_PACKAGE = Path(__file__).resolve().parents[1]
# Changes elsewhere (a user's training files, results) do not change what the code does.
_CODE = (".", ":(top)lm_eval_tasks", ":(top)training", ":(top)pyproject.toml")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that training goes through; `none` where not installed."""
    found = {"python": platform.python_version(), "fin-plugins": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def hardware() -> dict[str, Any]:
    """The machine in a few words: `platform`, `cpu`, usable `cores`, `threads` of torch, `memory_gib`, `gpus` by name.

    Cores and memory are what a container's limits leave of them; memory is None where the system does not tell.
    """
    import torch

    return {
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": device_of("fin_hf", "cpu")["name"],
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": memory_gib(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def peak_memory() -> dict[str, int]:
    """Bytes at most so far, of this process: `host` (resident), and `cuda` (by tensors, summed over devices)."""
    import torch

    found = {}
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["host"] = peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
    if torch.cuda.is_available():
        found["cuda"] = sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
    return found


def commit(package: Path = _PACKAGE) -> str | None:
    """The commit of this package's repository, with `+changes` where its code differs; None where it is not in one.

    An installed package may lie within some other project's repository (its .venv): only a folder that git tracks
    counts.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head = _git(package, "rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("+changes" if _git(package, "status", "--porcelain", "--", *_CODE) else "")


def command_line() -> list[str]:
    """What was typed, the program by its bare name."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _git(folder: Path, *arguments: str) -> str | None:
    # A hook's variables would point git at another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one that git does not trust
        return None
    return done.stdout.strip()


def cores() -> int:
    """Usable cores: those that affinity and a container's limits leave."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        usable = min(usable, max(1, round(int(quota) / int(period))))
    return usable


def memory_gib() -> float | None:
    """Memory that a container's limit leaves; None where the system does not tell."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    limit = _limit("memory.max")
    return round(min(there, int(limit) if limit.isdigit() else there) / _GIB, 1)


def _limit(name: str) -> str:
    """A limit of the container this runs in (cgroup v2), empty where there is none."""
    try:
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
