"""The `fin` command and its groups."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import COMMANDS, fin, main


def exit_status(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `fin` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["fin", *words])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fin_plugins.cli.main import fin; fin(['--help'], standalone_mode=False);"
        "print('heavy:', [m for m in ('numpy', 'pandas', 'lm_eval', 'torch', 'sklearn', 'rich') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout
    assert "heavy: []" in out
    for name, line in COMMANDS.items():
        assert f"  {name} " in out and line[:40] in out


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"eval"}))
def test_every_command_has_help(name: str) -> None:
    for flag in ("--help", "-h"):
        result = CliRunner().invoke(fin, [name, flag])
        assert result.exit_code == 0 and result.stdout.startswith("Usage: fin") and len(result.stdout) > 200


@pytest.mark.parametrize(
    "words", [["--help"], ["ls", "tasks", "--include_path", "x"], ["--tasks=fin", "--model", "hf"]]
)
def test_eval_passes_everything_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[list[str]] = []
    monkeypatch.setattr("fin_plugins.tasks.lm_eval_cli.run_lm_eval", passed.append)
    assert CliRunner().invoke(fin, ["eval", *words]).exit_code == 0
    assert passed == [words]


def test_a_fin_error_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(monkeypatch, "data", "show", "fin_fomcc") == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("fin: error: fin_fomcc: ") and "fin_fomc?" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["evaluate"], ["--evaluate"], ["doctor", "--ful"]])
def test_an_unknown_command_or_option_is_status_2(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(monkeypatch, *words) == 2
    assert "No such" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["evla"], "eval"),
        (["bord"], "board"),
        (["task", "chekc"], "check"),
        (["data", "fetsh"], "fetch"),
        (["board", "exprot"], "export"),
        (["merge", "serch"], "search"),
    ],
)
def test_a_misspelt_command_gets_a_suggestion(words: list[str], meant: str) -> None:
    result = CliRunner().invoke(fin, words)
    assert result.exit_code == 2 and "No such command" in result.stderr and f"did you mean {meant}?" in result.stderr


def test_a_command_like_no_other_gets_no_suggestion() -> None:
    result = CliRunner().invoke(fin, ["xyzzy"])
    assert result.exit_code == 2 and "did you mean" not in result.stderr


@pytest.mark.parametrize("words", [[], ["task"], ["data"], ["board"], ["merge"], ["eval"], ["train"], ["run"]])
def test_missing_arguments_are_status_2_with_a_usage_line(words: list[str]) -> None:
    result = CliRunner().invoke(fin, words)
    assert result.exit_code == 2 and "Usage: fin" in result.stderr and result.stdout == ""


@pytest.mark.parametrize("words", [["train", "demo"], ["run", "demo"], ["demo"], ["merge", "search", "pair"]])
def test_the_output_folder_has_the_same_option_everywhere(words: list[str]) -> None:
    assert "--out " in CliRunner().invoke(fin, [*words[: 2 if words[0] == "merge" else 1], "--help"]).stdout
    result = CliRunner().invoke(fin, [*words, "--output", "x"])
    assert result.exit_code == 2 and "Did you mean" in result.stderr and "--out" in result.stderr
