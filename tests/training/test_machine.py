"""What a run ran on: true, and nothing that names the host, a user or a path."""

import getpass
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fin_plugins import __version__
from fin_plugins.training import machine


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A repository with a package in it, all committed."""
    folder = tmp_path / "src" / "package"
    folder.mkdir(parents=True)
    (tmp_path / "lm_eval_tasks").mkdir()
    (folder / "__init__.py").write_text("")
    (tmp_path / "lm_eval_tasks" / "task.yaml").write_text("task: t\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return folder


def test_versions_are_the_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.versions()
    assert list(found)[:2] == ["python", "fin-plugins"]
    assert found["python"] == platform.python_version()
    assert found["fin-plugins"] == __version__
    assert found["torch"] == version("torch")
    assert "none" not in found.values()
    monkeypatch.setattr(machine, "_LIBRARIES", ("no-such-library",))
    assert machine.versions()["no-such-library"] == "none"


def test_hardware_says_what_is_there_and_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_limit", lambda name: "")
    found = machine.hardware()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_gib"] > 0.1
    assert found["cpu"]
    assert isinstance(found["gpus"], list)
    words = json.dumps({**found, **machine.versions()}).replace("/", " / ").split()
    for name in (platform.node(), str(Path.home())):
        assert name not in json.dumps(found)
    assert getpass.getuser() not in words


def test_a_containers_limits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_limit", {"cpu.max": "100000 100000", "memory.max": str(1 << 29)}.__getitem__)
    found = machine.hardware()
    assert (found["cores"], found["memory_gib"]) == (1, 0.5)


def test_peak_memory_is_the_kernels_figure_in_bytes() -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kernel = int(next(row for row in status.splitlines() if row.startswith("VmHWM")).split()[1]) * 1024
    assert machine.peak_memory()["host"] >= 0.95 * kernel  # the other counter is brought up to date a little later
    assert machine.peak_memory()["host"] < 1 << 40


def test_the_commit_is_the_repositorys(package: Path) -> None:
    head = git(package, "rev-parse", "HEAD")
    assert machine.commit(package) == head
    (package.parents[1] / "my-training.yaml").write_text("model: demo\n")  # no code
    assert machine.commit(package) == head


@pytest.mark.parametrize("changed", ["src/package/__init__.py", "src/package/new.py", "lm_eval_tasks/task.yaml"])
def test_changed_code_is_said(changed: str, package: Path) -> None:
    (package.parents[1] / changed).write_text("# changed\n")
    assert machine.commit(package) == git(package, "rev-parse", "HEAD") + "+changes"


def test_an_installed_package_takes_no_commit_from_the_project_around_it(package: Path) -> None:
    installed = package.parents[1] / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert machine.commit(installed) is None


def test_no_git_no_commit(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine.commit(package) is None


def test_a_hooks_variables_do_not_mislead(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = git(package, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert machine.commit(package) == head


def test_the_command_line_holds_no_path_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/someone/.venv/bin/fin", "train", "a b.yaml"])
    assert machine.command_line() == ["fin", "train", "a b.yaml"]
