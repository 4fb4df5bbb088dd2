import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from fin_plugins.cli.main import fin
from fin_plugins.common.permissions import apply_umask
from fin_plugins.training.export import take_over
from tests.merging.inputs_made import make_adapter, make_base


@pytest.fixture(params=[0o022, 0o027, 0o077])
def usual(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode of new files under an umask."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*") if file.is_file()}


def test_files_of_safetensors_are_as_all_others(usual: int, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "config.json").write_text("{}")
    save_file({"x": torch.ones(2)}, tmp_path / "inner" / "model.safetensors")
    apply_umask(tmp_path)
    assert modes(tmp_path) == {usual} and len(list(tmp_path.iterdir())) == 2


def test_linked_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "theirs").chmod(0o400)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "link").symlink_to(tmp_path / "theirs")
    apply_umask(tmp_path / "ours")
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o400


def test_what_training_leaves(usual: int, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    save_file({"x": torch.ones(2)}, tmp_path / "kept" / "adapter_model.safetensors")
    take_over(tmp_path / "kept", tmp_path / "out")
    assert modes(tmp_path / "out") == {usual}


@pytest.mark.parametrize("more", [[], ["--as-adapter"]])
def test_what_merging_leaves(more: list[str], usual: int, tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    base = make_base(tmp_path / "base", tiny_models["llama3"])
    experts = [f"--expert={name}={make_adapter(tmp_path / name, base, seed)}" for seed, name in enumerate("ab")]
    typed = ["merge", "linear", "--base", str(base), *experts, "--out", str(tmp_path / "out"), *more]
    result = CliRunner().invoke(fin, typed)
    assert not result.exception, result.output
    assert modes(tmp_path / "out") == {usual}
