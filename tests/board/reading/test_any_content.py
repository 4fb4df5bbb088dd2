"""Arbitrary content in result and sample files gives entries or problems, never another error."""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.board.board_data import LoadedRuns
from fin_plugins.board.reading.answers_parquet import ExportedRun, format_export, read_export
from fin_plugins.board.reading.load_runs import UNEXPECTED, load_runs
from fin_plugins.board.rendering.data_export import json_text
from fin_plugins.board.rendering.document_tables import markdown_text
from fin_plugins.board.results_export import export_results
from fin_plugins.board.statistics.build_board import build_board
from fin_plugins.stats.metrics import scores
from tests.board.reading.result_fixtures import STAMP, Run

TASK = "fin_deal_gen"
SAMPLES = f"samples_{TASK}_{STAMP}.jsonl"
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**400, -1, 0, 1e300, -1e15, float("nan"), float("inf"), "", "1e999", "\ud800", "\u202e", "../../x"]
    )
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def small(real_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two tasks with four documents each, quick to read."""
    run = real_run.copy(tmp_path_factory.mktemp("small"), tasks=[TASK, "fin_deal"])
    for task in (TASK, "fin_deal"):
        run.write_lines(task, run.lines(task)[:4])
    gold, answers, _ = zip(*(line["macro_f1"] for line in run.lines("fin_deal")), strict=True)
    figures = {f"{name},none": value for name, value in asdict(scores(gold, answers, 2)).items()}
    return run.edit(
        lambda data: data.update(task_hashes={}, pretty_env_info="", chat_template="strftime_now"),
        lambda data: data["results"]["fin_deal"].update(figures),
        lambda data: data["n-samples"].update({task: {"original": 4, "effective": 4} for task in (TASK, "fin_deal")}),
    )


@pytest.fixture(scope="module")
def good(small: Run, tmp_path_factory: pytest.TempPathFactory) -> ExportedRun:
    (run,) = read_export(export_results([small.result], tmp_path_factory.mktemp("export"), {}))[0].values()
    return run


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield (*above, name)
        yield from places(item, (*above, name))


def with_change(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inside = value
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = new
    return value


def read(folder: Path, result: Any, lines: list[Any], choice_samples: bytes) -> LoadedRuns:
    (folder / f"results_{STAMP}.json").write_text(json.dumps(result))
    (folder / SAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / f"samples_fin_deal_{STAMP}.jsonl").write_bytes(choice_samples)
    reading = load_runs([folder], with_documents=True)
    for problem in reading.problems:
        assert problem.file and problem.message
    texts = [
        str(reading.problems),
        *(str((column.title, column.explanation, column.entries)) for column in reading.columns),
    ]
    "".join(texts).encode()  # whatever was read can be written
    assert not any(UNEXPECTED in problem.message for problem in reading.problems)
    board = build_board(reading, draws=2)
    assert markdown_text(board) and json_text(board)
    return reading


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_value_in_a_result_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    result = small.data()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(result))))
        result = with_change(result, place, data.draw(ANYTHING))
    read(tmp_path_factory.mktemp("any"), result, small.lines(TASK), small.samples("fin_deal").read_bytes())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_value_in_one_task_costs_no_other(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    result = small.data()
    task_places = [place for place in places(result) if TASK in place[:2] and len(place) > 1]
    result = with_change(result, data.draw(st.sampled_from(task_places)), data.draw(ANYTHING))
    reading = read(tmp_path_factory.mktemp("any"), result, small.lines(TASK), small.samples("fin_deal").read_bytes())
    assert any(column.key.startswith("fin_deal") and column.protocol == "choice" for column in reading.columns)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_value_in_a_sample_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Samples may be skipped, but a figure with samples always follows from them."""
    lines = small.lines(TASK)
    place = data.draw(st.sampled_from(list(places(lines))))
    lines = with_change(lines, place, data.draw(ANYTHING))
    reading = read(tmp_path_factory.mktemp("any"), small.data(), lines, small.samples("fin_deal").read_bytes())
    for column in reading.columns:
        for entry in column.entries:
            if entry.documents is not None and column.protocol == "gen":
                assert float((entry.documents.gold == entry.documents.answers).mean()) == entry.reported["acc"]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_value_in_an_export(
    small: Run, good: ExportedRun, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    """It costs no other run of the file."""
    result = good.result
    for _ in range(data.draw(st.integers(1, 3))):
        result = with_change(result, data.draw(st.sampled_from(list(places(result)))), data.draw(ANYTHING))
    folder = tmp_path_factory.mktemp("any")
    runs = {"good/results.json": good, "other/results.json": ExportedRun(result, good.answers)}
    (folder / "answers.parquet").write_bytes(format_export(runs))
    reading = read(folder, small.data(), small.lines(TASK), small.samples("fin_deal").read_bytes())
    assert not any("good/" in problem.file for problem in reading.problems)


def test_untouched_files_have_samples(small: Run, tmp_path: Path) -> None:
    reading = read(tmp_path, small.data(), small.lines(TASK), small.samples("fin_deal").read_bytes())
    assert [column.entries[0].documents is None for column in reading.columns] == [False, False]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_truncated_sample_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """A run killed while writing its samples has figures without intervals."""
    content = small.samples("fin_deal").read_bytes()
    end = data.draw(st.integers(0, len(content) - 2))
    reading = read(tmp_path_factory.mktemp("any"), small.data(), small.lines(TASK), content[:end])
    by_protocol = {column.protocol: column.entries[0] for column in reading.columns}
    assert by_protocol["gen"].documents is not None
    assert by_protocol["choice"].documents is None
    (problem,) = reading.problems
    assert problem.file == f"samples_fin_deal_{STAMP}.jsonl"
    assert not problem.is_error


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_bytes_in_a_result_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Lone surrogates, deep nesting and binary data cost no other run."""
    content = small.result.read_bytes()
    place = data.draw(st.integers(0, len(content)))
    bad = data.draw(
        st.sampled_from([b"\xed\xa0\x80", b"\\ud800", b"[" * 200_000, b"\0", b"1e999", b"NaN"]) | st.binary()
    )
    folder = tmp_path_factory.mktemp("any")
    (folder / "results_2026-02-02T02-02-02.json").write_bytes(content[:place] + bad + content[place:])
    reading = read(folder, small.data(), small.lines(TASK), small.samples("fin_deal").read_bytes())
    assert {"fin_deal", "fin_deal_gen"} <= {
        column.task + ("_gen" * (column.protocol == "gen")) for column in reading.columns
    }
