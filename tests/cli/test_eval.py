"""`fin eval` as typed: whose command line answers."""

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError


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


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["--model", "fin_hff", "--tasks", "fin_fomc"], "fin_hf"),
        (["--model", "vlm", "--tasks", "fin_fomc"], "vllm"),
        (["--model", "hf", "--tasks", "fin_fomc", "--limt", "3"], "--limit"),
        (["--model", "fin_hf", "--tasks", "fin_fomc", "--model_args", "pretrained=x", "--adaptr", "a=b"], "--adapter"),
        (["ls", "tasks", "--inclde_path", "y"], "--include_path"),
    ],
)
def test_a_slip_of_the_pen_is_one_line_with_a_suggestion(words: list[str], near: str) -> None:
    ran = CliRunner().invoke(fin, ["eval", *words])
    assert isinstance(ran.exception, FinError)
    assert "did you mean" in str(ran.exception) and near in str(ran.exception) and "\n" not in str(ran.exception)


def test_a_value_that_lm_evals_parser_refuses_is_one_line() -> None:
    ran = CliRunner().invoke(fin, ["eval", "--model", "hf", "--tasks", "fin_fomc", "--limit", "x"])
    assert isinstance(ran.exception, FinError) and "\n" not in str(ran.exception)
    assert "--limit" in str(ran.exception) and "'x'" in str(ran.exception)


@pytest.mark.parametrize(("asked", "near"), [("fomc", "fin_fomc"), ("fin_fmoc", "fin_fomc"), ("fomc, fpb", "fin_fpb")])
def test_an_unknown_task_has_a_suggestion(asked: str, near: str) -> None:
    from fin_plugins.tasks.harness import task_errors_in_one_line

    with (
        pytest.raises(FinError, match=f"Tasks not found: {asked}: did you mean .*{near}"),
        task_errors_in_one_line(),
    ):
        raise ValueError(f"Tasks not found: {asked}")
