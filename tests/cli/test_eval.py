"""`fin eval` on the command line: which of lm-eval's and our own command lines gets the arguments."""

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Arguments passed to lm-eval's own command line."""
    calls: list[list[str]] = []
    monkeypatch.setattr("fin_plugins.tasks.lm_eval_cli.run_lm_eval", calls.append)
    return calls


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--model", "fin_vllm", "--help"]])
def test_help_explains_our_flags_and_then_lm_evals(arguments: list[str], passed: list[list[str]]) -> None:
    result = CliRunner().invoke(fin, ["eval", *arguments])
    assert result.exit_code == 0
    for flag in ("--adapter NAME=PATH", "--no-base", "--verify-adapters", "--any-base", "--prune"):
        assert flag in result.output
    assert passed == [arguments]


def test_listings_go_to_lm_eval(passed: list[list[str]]) -> None:
    result = CliRunner().invoke(fin, ["eval", "ls", "--help"])
    assert result.output == "" and passed == [["ls", "--help"]]


@pytest.mark.parametrize("model", [["--model", "hf"], ["--model", "vllm"], []])
def test_our_flags_need_our_classes(model: list[str], passed: list[list[str]]) -> None:
    result = CliRunner().invoke(fin, ["eval", *model, "--tasks", "fin", "--adapter", "a=b", "--prune"])
    assert isinstance(result.exception, FinError)
    assert "--adapter, --prune can be used with --model fin_vllm or fin_hf only" in str(result.exception)
    assert passed == []


@pytest.mark.parametrize("model", ["fin_vllm", "fin_hf"])
def test_our_model_classes_go_to_our_runner(
    model: str, passed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr("fin_plugins.evaluation.eval_run.run_evaluation", commands.append)
    arguments = [
        "--model",
        model,
        "--model_args",
        "pretrained=x,dtype=float32",
        "--tasks",
        "fin,fin_gen",
        "--limit",
        "3",
    ]
    result = CliRunner().invoke(fin, ["eval", *arguments, "--output_path", "o", "--no-base", "--adapter", "a=/no/such"])
    assert isinstance(result.exception, FinError) and "adapter a" in str(result.exception)
    assert CliRunner().invoke(fin, ["eval", *arguments, "--output_path", "o"]).exit_code == 0
    (command,) = commands
    assert command.settings.model == model and command.settings.limit == 3 and command.settings.log_samples
    assert command.base_arguments == {"pretrained": "x", "dtype": "float32"}
    assert command.base and not command.adapters
    assert passed == []


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--model", "fin_hff", "--tasks", "fin_fomc"], "fin_hf"),
        (["--model", "vlm", "--tasks", "fin_fomc"], "vllm"),
        (["--model", "hf", "--tasks", "fin_fomc", "--limt", "3"], "--limit"),
        (["--model", "fin_hf", "--tasks", "fin_fomc", "--model_args", "pretrained=x", "--adaptr", "a=b"], "--adapter"),
        (["ls", "tasks", "--inclde_path", "y"], "--include_path"),
    ],
)
def test_a_typo_is_one_line_with_a_suggestion(arguments: list[str], near: str) -> None:
    result = CliRunner().invoke(fin, ["eval", *arguments])
    assert isinstance(result.exception, FinError)
    assert near in str(result.exception) and "\n" not in str(result.exception)


def test_a_value_that_lm_evals_parser_refuses_is_one_line() -> None:
    result = CliRunner().invoke(fin, ["eval", "--model", "hf", "--tasks", "fin_fomc", "--limit", "x"])
    assert isinstance(result.exception, FinError) and "\n" not in str(result.exception)
    assert "--limit" in str(result.exception) and "'x'" in str(result.exception)


@pytest.mark.parametrize(("names", "near"), [("fomc", "fin_fomc"), ("fin_fmoc", "fin_fomc"), ("fomc, fpb", "fin_fpb")])
def test_an_unknown_task_has_a_suggestion(names: str, near: str) -> None:
    from fin_plugins.tasks.lm_eval_cli import one_line_task_errors

    with (
        pytest.raises(FinError, match=f"{names}.*{near}"),
        one_line_task_errors(),
    ):
        raise ValueError(f"Tasks not found: {names}")
