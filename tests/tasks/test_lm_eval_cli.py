"""lm-eval's command line with our task folder: arguments, and errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.tasks.lm_eval_cli import add_task_folder, one_line_task_errors

OURS = str(task_folder())


def settings(arguments: list[str]) -> dict:
    assert arguments[:2] == ["run", "--config"]
    return yaml.safe_load(Path(arguments[2]).read_text())


def test_run_is_inserted_and_our_folder_added(tmp_path: Path) -> None:
    arguments = add_task_folder(["--tasks", "fin"], tmp_path)
    assert arguments == ["run", "--tasks", "fin", "--include_path", OURS]


@pytest.mark.parametrize("flag", [["--include_path", "mine"], ["--include_path=mine"]])
def test_the_users_folder_stands_behind_ours(flag: list[str], tmp_path: Path) -> None:
    arguments = add_task_folder(["run", *flag, "--tasks", "x"], tmp_path)
    assert settings(arguments)["include_path"] == [OURS, "mine"]
    assert arguments[3:] == ["--tasks", "x"]


def test_a_users_configuration_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: hf\ninclude_path: [a, b]\n")
    merged = settings(add_task_folder(["--config", str(file)], tmp_path / "."))
    assert merged == {"model": "hf", "include_path": [OURS, "a", "b"]}


def test_ls_and_validate(tmp_path: Path) -> None:
    assert add_task_folder(["ls", "tasks"], tmp_path) == ["ls", "tasks", "--include_path", OURS]
    assert add_task_folder(["ls", "tasks", "--include_path", "m"], tmp_path)[-1] == "m"


def test_help_is_lm_evals(tmp_path: Path) -> None:
    assert add_task_folder(["run", "--help"], tmp_path) == ["run", "--help"]


def test_unreadable_configuration_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FinError, match="--config /no/such"):
        add_task_folder(["--config", "/no/such.yaml"], tmp_path)


def test_an_unknown_task_is_one_line_with_a_suggestion() -> None:
    with pytest.raises(FinError, match=r"fin_fomcc.*did you mean fin_fomc") as caught, one_line_task_errors():
        raise ValueError("Tasks not found: fin_fomcc")
    assert "\n" not in str(caught.value)


@pytest.mark.prove
def test_an_unknown_task_on_the_command_line() -> None:
    fin = [str(Path(sys.executable).parent / "fin"), "eval", "--tasks", "fin_fomcc", "--model", "dummy"]
    run = subprocess.run(fin, capture_output=True, text=True)
    assert run.returncode == 1
    assert "did you mean fin_fomc" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr


def test_an_unknown_function_is_one_line(tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    (tmp_path / "mine.yaml").write_text("task: mine\ncustom_dataset: !function no_such_module.load\n")
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    with pytest.raises(FinError, match=r"no_such_module.*`fin task check`"), one_line_task_errors():
        manager.load(["mine"])


def test_other_errors_pass() -> None:
    with pytest.raises(AttributeError, match="a mistake of ours"), one_line_task_errors():
        raise AttributeError("a mistake of ours")
