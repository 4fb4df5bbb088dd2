"""The `fin` command as a whole."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import VERBS, fin, main


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `fin` with these words."""
    monkeypatch.setattr(sys, "argv", ["fin", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_help_lists_every_verb_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fin_plugins.cli.main import fin; fin(['--help'], standalone_mode=False);"
        "print('heavy:', [m for m in ('numpy', 'pandas', 'lm_eval', 'torch', 'sklearn', 'rich') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout
    assert "heavy: []" in out
    for verb, about in VERBS.items():
        assert f"  {verb} " in out and about[:40] in out


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"eval"}))
def test_every_verb_has_help(verb: str) -> None:
    for flag in ("--help", "-h"):
        result = CliRunner().invoke(fin, [verb, flag])
        assert result.exit_code == 0 and result.stdout.startswith("Usage: fin") and len(result.stdout) > 200


@pytest.mark.parametrize(
    "words", [["--help"], ["ls", "tasks", "--include_path", "x"], ["--tasks=fin", "--model", "hf"]]
)
def test_eval_passes_everything_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[list[str]] = []
    monkeypatch.setattr("fin_plugins.tasks.harness.run_lm_eval", passed.append)
    assert CliRunner().invoke(fin, ["eval", *words]).exit_code == 0
    assert passed == [words]


def test_an_error_of_ours_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "data", "show", "fin_fomcc") == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("fin: error: fin_fomcc: no such data set (did you mean fin_fomc?)")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["evaluate"], ["--evaluate"], ["doctor", "--ful"]])
def test_what_is_not_known_is_status_2(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, *words) == 2
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
def test_a_verb_that_is_nearly_right_is_suggested(words: list[str], meant: str) -> None:
    done = CliRunner().invoke(fin, words)
    assert done.exit_code == 2 and "No such command" in done.stderr and f"did you mean {meant}?" in done.stderr


def test_a_verb_like_no_other_is_not_suggested() -> None:
    done = CliRunner().invoke(fin, ["xyzzy"])
    assert done.exit_code == 2 and "did you mean" not in done.stderr


@pytest.mark.parametrize("words", [[], ["task"], ["data"], ["board"], ["merge"], ["eval"], ["train"], ["run"]])
def test_nothing_typed_is_status_2_with_help_or_what_is_missing(words: list[str]) -> None:
    done = CliRunner().invoke(fin, words)
    assert done.exit_code == 2 and "Usage: fin" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("words", [["train", "demo"], ["run", "demo"], ["demo"], ["merge", "search", "pair"]])
def test_the_option_of_the_output_folder_is_one_everywhere(words: list[str]) -> None:
    assert "--out " in CliRunner().invoke(fin, [*words[: 2 if words[0] == "merge" else 1], "--help"]).stdout
    done = CliRunner().invoke(fin, [*words, "--output", "x"])
    assert done.exit_code == 2 and "Did you mean" in done.stderr and "--out" in done.stderr
