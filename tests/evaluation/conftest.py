"""A tiny workspace for `fin eval`, evaluated once, and copies of it for tests that change something."""

import functools
import shutil
from pathlib import Path

import pytest

from tests.evaluation.eval_workspace import TASKS, EvalWorkspace, make_workspace


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models are slower with threads, much slower if other processes use the same cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> EvalWorkspace:
    """A workspace with base and adapters evaluated; not to be changed."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        skip_slow_set_up(patch, root)
        workspace = make_workspace(root / "workspace", tiny_models["llama3"])
        log = workspace.run(*workspace.flags())
    assert log.units == [f"{model} {task}" for model in ("base", "one", "two") for task in TASKS]
    assert log.starts == 1
    return workspace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Skip what takes lm-eval seconds and these tests do not need."""
    skip_slow_set_up(monkeypatch, tmp_path)


def skip_slow_set_up(patch: pytest.MonkeyPatch, cache: Path) -> None:
    import lm_eval.tasks

    # lm-eval's own 10,000 task files take seconds to index and are not needed here.
    patch.setattr(lm_eval.tasks, "TaskManager", functools.partial(lm_eval.tasks.TaskManager, include_defaults=False))
    # Runs a dozen commands for every result file.
    patch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "a machine")
    patch.setenv("XDG_CACHE_HOME", str(cache / "cache"))


@pytest.fixture
def workspace(finished: EvalWorkspace, tmp_path: Path, quick: None) -> EvalWorkspace:
    """A copy of the finished workspace in another folder."""
    shutil.copytree(finished.root, tmp_path / "copy")
    return EvalWorkspace(tmp_path / "copy")
