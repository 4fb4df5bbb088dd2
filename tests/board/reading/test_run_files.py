"""Files that are found, their display names, and manifests."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fin_plugins.board.reading.answers_parquet import ExportedRun, format_export
from fin_plugins.board.reading.run_files import find_runs
from fin_plugins.cli.main import fin
from fin_plugins.evaluation.result_files import write_file_list
from tests.board.reading.result_fixtures import STAMP, Run, model


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")


def test_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    make(
        tmp_path,
        f"a/results_{STAMP}.json",
        f"a/samples_fin_fomc_{STAMP}.jsonl",
        f"a/samples_fin_fomc_gen_{STAMP}.jsonl",
        "a/samples_fin_fomc_2020-01-01T00-00-00.jsonl",
        f"a/b/c/results_{STAMP}.json",
        f"a/b/mine_{STAMP}.json",
        "a/b/results.json",
        "adapter_config.json",
        "a/notes.json",
        f".fin-eval/results_{STAMP}.json",
    )
    runs, problems = find_runs([tmp_path])
    assert [run.display_name for run in runs] == [
        f"a/results_{STAMP}.json",
        f"a/b/mine_{STAMP}.json",
        "a/b/results.json",
        f"a/b/c/results_{STAMP}.json",
    ]
    assert runs[0].samples == {
        task: tmp_path / "a" / f"samples_{task}_{STAMP}.jsonl" for task in ("fin_fomc", "fin_fomc_gen")
    }
    assert [problem.file for problem in problems] == ["a/samples_fin_fomc_2020-01-01T00-00-00.jsonl"]


def test_runs_in_exports(tmp_path: Path) -> None:
    names = [f"m/results_{STAMP}.json", "n/results_x.json"]
    runs = {name: ExportedRun({"a": 1}, {}) for name in names}
    make(tmp_path, f"one/results_{STAMP}.json", "one/.hidden/x", "one/other.parquet")
    for file in ("one/answers.parquet", "one/.hidden/answers.parquet", "one/two/answers.parquet", "x.parquet"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(format_export(runs))
    found, problems = find_runs([tmp_path / "one"])
    assert [run.display_name for run in found] == [
        f"results_{STAMP}.json",
        *names,
        *(f"two/{name}" for name in names),
    ]
    assert [run.exported for run in found] == [None, *runs.values(), *runs.values()] and problems == []
    assert [run.stamp for run in found[1:3]] == [STAMP, ""]
    assert found[3].message_name == f"two/answers.parquet: two/{names[0]}"
    found, problems = find_runs([tmp_path / "x.parquet", tmp_path / "x.parquet", tmp_path / "one" / "two"])
    assert [run.display_name for run in found] == [*names, *(f"two/{name}" for name in names)] and problems == []


def test_file_given_twice_is_read_once(tmp_path: Path) -> None:
    make(tmp_path, f"a/results_{STAMP}.json", f"a/samples_t_{STAMP}.jsonl")
    file = tmp_path / "a" / f"results_{STAMP}.json"
    runs, _ = find_runs([file, tmp_path, tmp_path / "a"])
    (run,) = runs
    assert set(run.samples) == {"t"}
    assert run.display_name == file.name


def test_several_folders_are_named(tmp_path: Path) -> None:
    make(tmp_path, f"one/results_{STAMP}.json", f"two/results_{STAMP}.json")
    runs, _ = find_runs([tmp_path / "one", tmp_path / "two"])
    assert [run.display_name for run in runs] == [f"one/results_{STAMP}.json", f"two/results_{STAMP}.json"]


def test_links_do_not_lead_in_circles(tmp_path: Path) -> None:
    make(tmp_path, f"a/results_{STAMP}.json")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    assert len(find_runs([tmp_path])[0]) == 1
    assert len(find_runs([tmp_path / "linked"])[0]) == 1


def test_undecodable_name(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    Path(os.fsdecode(folder)).mkdir()
    (Path(os.fsdecode(folder)) / f"results_{STAMP}.json").write_text("{}")
    (run,), _ = find_runs([tmp_path])
    assert run.display_name.encode().endswith(f"/results_{STAMP}.json".encode())


@pytest.mark.parametrize("by_name", [True, False])
def test_a_folder_of_many_runs_is_listed_once(by_name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing it once per run would take quadratic time."""
    stamps = [f"2026-01-02T03-04-05.{number:06}" for number in range(30)]
    make(tmp_path, *(f"results_{stamp}.json" for stamp in stamps), *(f"samples_t_{stamp}.jsonl" for stamp in stamps))
    listings, iterdir = [], Path.iterdir

    def counted(folder: Path) -> Iterator[Path]:
        listings.append(folder)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", counted)
    runs, problems = find_runs(sorted(tmp_path.glob("results_*")) if by_name else [tmp_path])
    assert [run.samples["t"].name for run in runs] == [f"samples_t_{stamp}.jsonl" for stamp in stamps]
    assert problems == [] and len(listings) == 1


LATER = "2031-05-06T07-08-09.123456"


def write_manifest(run: Run, file: Path) -> Path:
    files = sorted(run.folder.iterdir(), key=lambda file_path: file_path.suffix == ".json")
    write_file_list(file, "base", files)
    return file


def board(out: Path, *words: str) -> Result:
    return CliRunner().invoke(fin, ["board", *words, "--out", str(out)])


def test_manifest_limits_the_board(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path / "all" / "one", model(pretrained="org/one"))
    real_run.copy(tmp_path / "all" / "two", model(pretrained="org/two"))
    invocation = board(tmp_path / "board", str(write_manifest(run, tmp_path / "lists" / "one-3f2a.json")))
    assert invocation.exit_code == 0, invocation.output
    data = json.loads((tmp_path / "board" / "board.json").read_text())
    assert {cell["model"] for cell in data["cells"]} == {"one"}
    assert {cell["source"]["file"] for cell in data["cells"]} == {"one-3f2a.json"}


def test_manifest_gives_the_same_bytes_anywhere(real_run: Run, tmp_path: Path) -> None:
    boards = []
    for place, stamp, hour in (("here", STAMP, 7), ("far/away", LATER, 22)):
        day = 1_800_000_000 // 86400 * 86400
        date = day + hour * 3600
        run = real_run.copy(tmp_path / place / "scores", lambda data, date=date: data.update(date=date), stamp=stamp)
        file = write_manifest(run, tmp_path / place / "written" / "base.json")
        assert board(tmp_path / place / "board", str(file)).exit_code == 0
        boards.append({output.name: output.read_bytes() for output in (tmp_path / place / "board").iterdir()})
    assert boards[0] == boards[1] and len(boards[0]) == 5
    assert b"2027-01-15 UTC" in boards[0]["index.html"]


def test_manifest_with_missing_files(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path / "scores")
    file = write_manifest(run, tmp_path / "base.json")
    shutil.rmtree(run.folder)
    invocation = board(tmp_path / "board", str(file))
    assert invocation.exit_code == 1 and "base.json: names " in invocation.output and "`fin eval`" in invocation.output
