"""Which files are found, and how they are called."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fin_plugins.board.reading.files import find

STAMP = "2026-01-02T03-04-05.678901"


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")


def test_any_depth_and_nothing_that_is_not_lm_evals(tmp_path: Path) -> None:
    make(
        tmp_path,
        f"a/results_{STAMP}.json",
        f"a/samples_fin_fomc_{STAMP}.jsonl",
        f"a/samples_fin_fomc_gen_{STAMP}.jsonl",
        "a/samples_fin_fomc_2020-01-01T00-00-00.jsonl",
        f"a/b/c/results_{STAMP}.json",
        f"a/b/c/answers_fin_deal_{STAMP}.csv",
        f"a/b/mine_{STAMP}.json",
        "a/b/results.json",
        "adapter_config.json",
        "a/notes.json",
        f".fin-eval/results_{STAMP}.json",
    )
    runs, problems = find([tmp_path])
    assert [run.shown for run in runs] == [
        f"a/results_{STAMP}.json",
        f"a/b/mine_{STAMP}.json",
        "a/b/results.json",
        f"a/b/c/results_{STAMP}.json",
    ]
    assert runs[0].samples == {
        task: tmp_path / "a" / f"samples_{task}_{STAMP}.jsonl" for task in ("fin_fomc", "fin_fomc_gen")
    }
    assert set(runs[3].answers) == {"fin_deal"}
    assert [problem.file for problem in problems] == ["a/samples_fin_fomc_2020-01-01T00-00-00.jsonl"]


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    make(tmp_path, f"a/results_{STAMP}.json", f"a/samples_t_{STAMP}.jsonl")
    file = tmp_path / "a" / f"results_{STAMP}.json"
    runs, _ = find([file, tmp_path, tmp_path / "a"])
    (run,) = runs
    assert set(run.samples) == {"t"}
    assert run.shown == file.name


def test_of_several_folders_each_is_named(tmp_path: Path) -> None:
    make(tmp_path, f"one/results_{STAMP}.json", f"two/results_{STAMP}.json")
    runs, _ = find([tmp_path / "one", tmp_path / "two"])
    assert [run.shown for run in runs] == [f"one/results_{STAMP}.json", f"two/results_{STAMP}.json"]


def test_links_do_not_lead_in_circles(tmp_path: Path) -> None:
    make(tmp_path, f"a/results_{STAMP}.json")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    assert len(find([tmp_path])[0]) == 1
    assert len(find([tmp_path / "linked"])[0]) == 1


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    Path(os.fsdecode(folder)).mkdir()
    (Path(os.fsdecode(folder)) / f"results_{STAMP}.json").write_text("{}")
    (run,), _ = find([tmp_path])
    assert run.shown.encode().endswith(f"/results_{STAMP}.json".encode())


@pytest.mark.parametrize("by_name", [True, False])
def test_a_folder_of_many_runs_is_listed_once(by_name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing it once a run takes time by the square of the files."""
    stamps = [f"2026-01-02T03-04-05.{number:06}" for number in range(30)]
    make(tmp_path, *(f"results_{stamp}.json" for stamp in stamps), *(f"samples_t_{stamp}.jsonl" for stamp in stamps))
    listings, iterdir = [], Path.iterdir

    def counted(folder: Path) -> Iterator[Path]:
        listings.append(folder)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", counted)
    runs, problems = find(sorted(tmp_path.glob("results_*")) if by_name else [tmp_path])
    assert [run.samples["t"].name for run in runs] == [f"samples_t_{stamp}.jsonl" for stamp in stamps]
    assert problems == [] and len(listings) == 1
