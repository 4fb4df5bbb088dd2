"""Snakemake's command line, and its process."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import experiment_folder
from fin_plugins.experiments.running import command, gpus
from fin_plugins.experiments.steps import Plan

LOG = "logs/snakemake.log"
_SNAKEFILE = "Snakefile"
_PROFILE_FILES = ("config.yaml", "profile.yaml")


@dataclass(frozen=True)
class Limits:
    """What all steps that run at once may take here, together.

    Attributes:
        cores: processor cores.
        memory_gb: main memory.
        gpus: devices, as CUDA_VISIBLE_DEVICES names them.
    """

    cores: int
    memory_gb: float
    gpus: tuple[str, ...]


def check_installed() -> None:
    """Check that Snakemake is there.

    Raises:
        FinError: it is not.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise FinError('Snakemake, which runs the steps, is not installed here: pip install "fin-plugins[run]"')


def profile_folder(name_or_path: str) -> Path:
    """The profile that is meant: a folder, or a shipped one by name.

    Raises:
        FinError: there is neither.
    """
    shipped = experiment_folder() / "profiles"
    for folder in (Path(name_or_path), shipped / name_or_path):
        if any((folder / file).is_file() for file in _PROFILE_FILES):
            return folder.resolve()
    known = ", ".join(sorted(folder.name for folder in shipped.iterdir() if folder.is_dir()))
    raise FinError(f"--profile {name_or_path}: no folder with a config.yaml, nor a shipped one; shipped are {known}")


def command_line(plan: Plan, limits: Limits | None, profile: Path | None, more: Sequence[str] = ()) -> list[str]:
    """What is run: steps that need no failed one go on, and nothing but a missing marker makes a step run.

    Args:
        plan: has been written.
        limits: of this machine, where it runs the steps.
        profile: says how a cluster runs them.
        more: arguments of the user's own.
    """
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(plan.work / _SNAKEFILE)]
    words += ["--directory", str(plan.work), "--workflow-profile", "none", "--profile", str(profile or "none")]
    # The lock is our own, which does not outlive its owner; what was cut off has no marker.
    words += ["--nolock", "--rerun-incomplete", "--drop-metadata", "--keep-going", "--nocolor"]
    words += ["--scheduler", "greedy"]  # the other one calls a solver, for a few dozen steps
    if profile is not None:
        words += _storage(plan, profile)
    if limits is not None:
        memory = f"mem_mb={int(limits.memory_gb * 1000)}"
        words += ["--cores", str(limits.cores), "--resources", memory, f"gpu={len(limits.gpus)}"]
    return [*words, *more]


def _storage(plan: Plan, profile: Path) -> list[str]:
    """Where the profile has storage between nodes and does not say which folder: the work folder."""
    import yaml

    file = next(file for name in _PROFILE_FILES if (file := profile / name).is_file())
    said = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    has_folder = "default-storage-provider" not in said or "default-storage-prefix" in said
    return [] if has_folder else ["--default-storage-prefix", str(plan.work)]


class Engine:
    """Snakemake at work. It ends when this process does, and its local steps with it."""

    def __init__(self, plan: Plan, words: Sequence[str], limits: Limits | None) -> None:
        """Start it, its output in `logs/snakemake.log`.

        Args:
            plan: what it works on.
            words: its command line.
            limits: of this machine; None where a cluster runs the steps, which go on without us.
        """
        # A copy of the workflow in the work folder: Snakemake sends it to nodes that share nothing else.
        write_file(plan.work / _SNAKEFILE, (experiment_folder() / _SNAKEFILE).read_text(encoding="utf-8"))
        log = plan.work / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                words,
                cwd=plan.work,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                env=_environment(limits),
                start_new_session=True,
                preexec_fn=_own_child,
            )

    def status(self) -> int | None:
        """Exit status; None while it is at work."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it and its steps to stop, as Ctrl-C does."""
        command.send(self._process.pid, signal.SIGINT)

    def wait(self, seconds: float) -> bool:
        """Wait that long for its end, and say whether it has ended."""
        end = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        return self._process.poll() is not None

    def kill(self, groups: Sequence[int]) -> None:
        """End it at once, with the steps' process groups."""
        for group in (self._process.pid, *groups):
            command.send(group, signal.SIGKILL)
        self._process.wait()


def _own_child() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for `stop`, even where we run in the background
    command.end_with_parent()()


def _environment(limits: Limits | None) -> Mapping[str, str]:
    ours = (gpus.SHARED_OUT, command.OWNER)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    if limits is not None:
        environment |= {gpus.SHARED_OUT: ",".join(limits.gpus), command.OWNER: str(os.getpid())}
    return environment
