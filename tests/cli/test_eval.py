"""`fin eval` as typed: whose command line answers."""

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.errors import FinError


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is handed on to lm-eval's own command line."""
    calls: list[list[str]] = []
    monkeypatch.setattr("fin_plugins.tasks.harness.run_lm_eval", calls.append)
    return calls


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--model", "fin_vllm", "--help"]])
def test_help_explains_our_flags_and_then_lm_evals(words: list[str], passed: list[list[str]]) -> None:
    shown = CliRunner().invoke(fin, ["eval", *words])
    assert shown.exit_code == 0
    for flag in ("--adapter NAME=PATH", "--no-base", "--verify-adapters", "--any-base", "--prune"):
        assert flag in shown.output
    assert passed == [words]


def test_lm_evals_own_listing_is_left_alone(passed: list[list[str]]) -> None:
    shown = CliRunner().invoke(fin, ["eval", "ls", "--help"])
    assert shown.output == "" and passed == [["ls", "--help"]]


@pytest.mark.parametrize("model", [["--model", "hf"], ["--model", "vllm"], []])
def test_our_flags_need_our_classes(model: list[str], passed: list[list[str]]) -> None:
    ran = CliRunner().invoke(fin, ["eval", *model, "--tasks", "fin", "--adapter", "a=b", "--prune"])
    assert isinstance(ran.exception, FinError)
    assert "--adapter, --prune can be used with --model fin_vllm or fin_hf only" in str(ran.exception)
    assert passed == []


@pytest.mark.parametrize("model", ["fin_vllm", "fin_hf"])
def test_our_classes_go_to_our_runner(model: str, passed: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []
    monkeypatch.setattr("fin_plugins.evaluation.run.run", commands.append)
    words = ["--model", model, "--model_args", "pretrained=x,dtype=float32", "--tasks", "fin,fin_gen", "--limit", "3"]
    ran = CliRunner().invoke(fin, ["eval", *words, "--output_path", "o", "--no-base", "--adapter", "a=/no/such"])
    assert isinstance(ran.exception, FinError) and "adapter a" in str(ran.exception)
    assert CliRunner().invoke(fin, ["eval", *words, "--output_path", "o"]).exit_code == 0
    (command,) = commands
    assert command.settings.model == model and command.settings.limit == 3 and command.settings.log_samples
    assert command.base_arguments == {"pretrained": "x", "dtype": "float32"}
    assert command.base and not command.adapters
    assert passed == []
