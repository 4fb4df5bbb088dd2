"""A tiny world for `fin eval`, evaluated once; copies of it for tests that change something."""

import functools
import shutil
from pathlib import Path

import pytest

from tests.evaluation.running import TASKS, World, make_world


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models lose by threads, and ten times over where another process wants the same cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which base and adapters have been evaluated; copied by each test that changes something."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        _only_our_folders(patch, root)
        world = make_world(root / "world", tiny_models["llama3"])
        asked = world.run(*world.flags())
    assert asked.units == [f"{model} {task}" for model in ("base", "one", "two") for task in TASKS]
    assert asked.starts == 1
    return world


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lm-eval does in seconds and these tests do not need."""
    _only_our_folders(monkeypatch, tmp_path)


def _only_our_folders(patch: pytest.MonkeyPatch, cache: Path) -> None:
    import lm_eval.tasks

    # lm-eval's own 10,000 task files take seconds to index and are not needed here.
    patch.setattr(lm_eval.tasks, "TaskManager", functools.partial(lm_eval.tasks.TaskManager, include_defaults=False))
    # Asks the machine about itself with a dozen commands, for every result file.
    patch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: "a machine")
    patch.setenv("XDG_CACHE_HOME", str(cache / "cache"))


@pytest.fixture
def world(finished: World, tmp_path: Path) -> World:
    """A copy in another folder: what is in it is the same, where it lies is not."""
    shutil.copytree(finished.root, tmp_path / "copy")
    return World(tmp_path / "copy")
