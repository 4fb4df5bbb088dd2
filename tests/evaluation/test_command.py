"""The command line: our flags apart from lm-eval's, and which model class is meant."""

from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.command import Flags, model_of, split


def test_our_flags_are_taken_out_and_the_others_left_alone() -> None:
    words = ["--adapter", "a=x", "--tasks", "fin", "--adapter=b=y=z", "--prune", "--limit", "3", "--no-base"]
    flags, rest = split(words)
    assert flags == Flags(["a=x", "b=y=z"], frozenset({"--prune", "--no-base"}))
    assert rest == ["--tasks", "fin", "--limit", "3"]
    assert flags and str(flags) == "--adapter, --no-base, --prune"
    assert not split(rest)[0]
    listed, rest = split(["--written", "base=a.json", "--tasks", "fin", "--written=x=b=c.json"])
    assert listed == Flags(written=["base=a.json", "x=b=c.json"]) and rest == ["--tasks", "fin"]
    assert listed and str(listed) == "--written"


def test_an_adapter_flag_without_a_value() -> None:
    with pytest.raises(FinError, match="--adapter: expected NAME=PATH"):
        split(["--tasks", "fin", "--adapter"])
    with pytest.raises(FinError, match="--written: expected NAME=FILE"):
        split(["--tasks", "fin", "--written"])


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["--model", "fin_vllm", "--tasks", "fin"], "fin_vllm"),
        (["run", "--model=fin_hf"], "fin_hf"),
        (["-M", "fin_hf"], "fin_hf"),
        (["-Mfin_hf"], "fin_hf"),
        (["--model", "hf", "--model", "fin_hf"], "fin_hf"),
        (["--model_args", "pretrained=x", "--tasks", "fin"], None),
        (["ls", "tasks"], None),
    ],
)
def test_which_model_is_meant(words: list[str], model: str | None) -> None:
    assert model_of(words) == model


def test_a_model_in_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: fin_vllm\ntasks: [fin]\n")
    assert model_of(["--config", str(file)]) == "fin_vllm"
    assert model_of(["-C", str(file), "--model", "hf"]) == "hf"
    file.write_text("tasks: [fin]\n")
    assert model_of(["--config", str(file)]) is None
    with pytest.raises(FinError, match="cannot be read"):
        model_of(["--config", str(tmp_path / "gone.yaml")])
