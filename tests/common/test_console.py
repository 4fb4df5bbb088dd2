from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.common import hashing
from fin_plugins.common.console import say
from tests.merging.inputs_made import make_adapter, make_base


def test_a_merge_speaks_in_its_own_name(
    tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation, training and merging hash their inputs by the same function, which says so where they are large."""
    monkeypatch.setattr(hashing, "_SMALL", 1)
    monkeypatch.setattr(hashing, "_WORTH_A_LINE", 1)
    monkeypatch.setattr(hashing, "_remembered", lambda file: None)
    base = make_base(tmp_path / "base", tiny_models["llama3"])
    experts = [f"--expert={name}={make_adapter(tmp_path / name, base, seed)}" for seed, name in enumerate("ab")]
    typed = ["merge", "linear", "--base", str(base), *experts, "--out", str(tmp_path / "out"), "--as-adapter"]
    result = CliRunner().invoke(fin, typed)
    assert not result.exception, result.output
    assert f"fin merge: hashing 0.0 GB of {base} (remembered until a file changes)\n" in result.stderr
    assert "fin eval" not in result.stderr


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    say("something")
    assert capsys.readouterr().err == "fin: something\n"
