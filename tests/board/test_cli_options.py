"""Options are checked against the loaded runs, with suggestions."""

from pathlib import Path

import pytest

from fin_plugins.board.board_data import Board, LoadedRuns
from fin_plugins.board.cli_options import (
    check_model,
    check_names_used,
    check_output_folder,
    check_tasks,
    existing_paths,
)
from fin_plugins.common.errors import FinError


@pytest.fixture(scope="module")
def runs(full_board: Board) -> LoadedRuns:
    return LoadedRuns(full_board.columns, full_board.older, full_board.problems)


def test_known_models_and_tasks_pass(runs: LoadedRuns) -> None:
    check_model("--baseline", "base", runs)
    check_model("--baseline", None, runs)
    check_tasks("--unseen", ["fin_finred"], runs)


@pytest.mark.parametrize(
    ("model", "hint"), [("bass", r"\(did you mean base\?\); there are base, multi"), ("task", r"mean multi-task\?")]
)
def test_unknown_model_gets_a_suggestion(runs: LoadedRuns, model: str, hint: str) -> None:
    with pytest.raises(FinError, match=rf"--baseline {model}: .*{hint}"):
        check_model("--baseline", model, runs)


def test_unknown_task_gets_a_suggestion(runs: LoadedRuns) -> None:
    with pytest.raises(FinError, match=r"--unseen fin_finerd: .*fin_finred\?"):
        check_tasks("--unseen", ["fin_fpb", "fin_finerd"], runs)


def test_names_must_match_a_model(runs: LoadedRuns) -> None:
    check_names_used({"models/x": "multi-task", "org/y": "base"}, runs)
    with pytest.raises(FinError, match=r"--name fomk=stance: .*did you mean"):
        check_names_used({"fomk": "stance"}, runs)


def test_paths(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert existing_paths([str(file), str(tmp_path)]) == [file, tmp_path]
    with pytest.raises(FinError, match=r"exprot: .*export\?"):
        existing_paths(["exprot"], ["export", "card"])


def test_output_folder_must_not_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert check_output_folder(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    for wrong in (file, file / "below"):
        with pytest.raises(FinError, match="is a file"):
            check_output_folder(wrong)
