"""Permissions of the files that training and merging write, under several umasks."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from fin_plugins.cli.main import fin
from fin_plugins.common.atomic import apply_umask
from fin_plugins.training.trained_model import publish_adapter
from tests.merging.model_factories import make_adapter, make_base


@pytest.fixture(params=[0o022, 0o027, 0o077])
def new_file_mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """Sets an umask; the permissions of new files under it."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def file_modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*") if file.is_file()}


def test_safetensors_files_get_the_permissions_of_new_files(new_file_mode: int, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "config.json").write_text("{}")
    save_file({"x": torch.ones(2)}, tmp_path / "inner" / "model.safetensors")
    apply_umask(tmp_path)
    assert file_modes(tmp_path) == {new_file_mode} and len(list(tmp_path.iterdir())) == 2


def test_link_targets_are_not_changed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "target").chmod(0o400)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "link").symlink_to(tmp_path / "target")
    apply_umask(tmp_path / "output")
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o400


def test_permissions_of_an_exported_adapter(new_file_mode: int, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    save_file({"x": torch.ones(2)}, tmp_path / "checkpoint" / "adapter_model.safetensors")
    publish_adapter(tmp_path / "checkpoint", tmp_path / "out")
    assert file_modes(tmp_path / "out") == {new_file_mode}


@pytest.mark.parametrize("options", [[], ["--as-adapter"]])
def test_permissions_of_a_merge(
    options: list[str], new_file_mode: int, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    base = make_base(tmp_path / "base", tiny_models["llama3"])
    experts = [f"--expert={name}={make_adapter(tmp_path / name, base, seed)}" for seed, name in enumerate("ab")]
    arguments = ["merge", "linear", "--base", str(base), *experts, "--out", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(fin, arguments)
    assert not result.exception, result.output
    assert file_modes(tmp_path / "out") == {new_file_mode}
