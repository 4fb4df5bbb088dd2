"""The command line: our flags separated from lm-eval's, and the requested model class."""

from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.eval_command import FinFlags, requested_model, split_flags


def test_our_flags_are_separated_from_lm_evals() -> None:
    words = ["--adapter", "a=x", "--tasks", "fin", "--adapter=b=y=z", "--prune", "--limit", "3", "--no-base"]
    flags, rest = split_flags(words)
    assert flags == FinFlags(["a=x", "b=y=z"], frozenset({"--prune", "--no-base"}))
    assert rest == ["--tasks", "fin", "--limit", "3"]
    assert flags and str(flags) == "--adapter, --no-base, --prune"
    assert not split_flags(rest)[0]
    listed, rest = split_flags(["--written", "base=a.json", "--tasks", "fin", "--written=x=b=c.json"])
    assert listed == FinFlags(written=["base=a.json", "x=b=c.json"]) and rest == ["--tasks", "fin"]
    assert listed and str(listed) == "--written"


def test_an_adapter_flag_without_a_value() -> None:
    with pytest.raises(FinError, match="--adapter: expected NAME=PATH"):
        split_flags(["--tasks", "fin", "--adapter"])
    with pytest.raises(FinError, match="--written: expected NAME=FILE"):
        split_flags(["--tasks", "fin", "--written"])


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
def test_requested_model(words: list[str], model: str | None) -> None:
    assert requested_model(words) == model


def test_a_model_in_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: fin_vllm\ntasks: [fin]\n")
    assert requested_model(["--config", str(file)]) == "fin_vllm"
    assert requested_model(["-C", str(file), "--model", "hf"]) == "hf"
    file.write_text("tasks: [fin]\n")
    assert requested_model(["--config", str(file)]) is None
    with pytest.raises(FinError, match="cannot be read"):
        requested_model(["--config", str(tmp_path / "gone.yaml")])
