"""Result and sample files with anything in them: an entry or a problem, and no other error."""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.board.model import Reading
from fin_plugins.board.reading import read_results
from fin_plugins.board.reading.read import UNFORESEEN
from fin_plugins.board.rendering.markdown import markdown
from fin_plugins.board.rendering.plain import plain
from fin_plugins.board.statistics import board_of
from fin_plugins.stats.metrics import scores
from tests.board.reading.runs import STAMP, Run

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
    """One task with four documents: quick to read."""
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


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*above, name)
        yield from places(one, (*above, name))


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inside = value
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = new
    return value


def read(folder: Path, result: Any, lines: list[Any], other: bytes) -> Reading:
    (folder / f"results_{STAMP}.json").write_text(json.dumps(result))
    (folder / SAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / f"samples_fin_deal_{STAMP}.jsonl").write_bytes(other)
    reading = read_results([folder], with_documents=True)
    for problem in reading.problems:
        assert problem.file and problem.message
    texts = [str(reading.problems), *(str((one.title, one.explanation, one.entries)) for one in reading.columns)]
    "".join(texts).encode()  # whatever was read can be written
    assert not any(UNFORESEEN in problem.message for problem in reading.problems)
    made = board_of(reading, draws=2)
    assert markdown(made) and plain(made)
    return reading


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_anything_anywhere_in_a_result_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    result = small.data()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(result))))
        result = changed(result, place, data.draw(ANYTHING))
    read(tmp_path_factory.mktemp("any"), result, small.lines(TASK), small.samples("fin_deal").read_bytes())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_anything_in_one_task_costs_no_other(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    result = small.data()
    mine = [place for place in places(result) if TASK in place[:2] and len(place) > 1]
    result = changed(result, data.draw(st.sampled_from(mine)), data.draw(ANYTHING))
    reading = read(tmp_path_factory.mktemp("any"), result, small.lines(TASK), small.samples("fin_deal").read_bytes())
    assert any(column.key.startswith("fin_deal") and column.protocol == "choice" for column in reading.columns)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_anything_in_a_sample_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """It may cost the samples; a figure that is shown with samples is the one that follows from them."""
    lines = small.lines(TASK)
    place = data.draw(st.sampled_from(list(places(lines))))
    lines = changed(lines, place, data.draw(ANYTHING))
    reading = read(tmp_path_factory.mktemp("any"), small.data(), lines, small.samples("fin_deal").read_bytes())
    for column in reading.columns:
        for entry in column.entries:
            if entry.documents is not None and column.protocol == "gen":
                assert float((entry.documents.gold == entry.documents.answers).mean()) == entry.reported["acc"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_that_ends_anywhere(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """A run that was killed while it wrote its samples: the table stands, without intervals there."""
    whole = small.samples("fin_deal").read_bytes()
    end = data.draw(st.integers(0, len(whole) - 2))
    untouched = read(tmp_path_factory.mktemp("any"), small.data(), small.lines(TASK), whole)
    assert [column.entries[0].documents is None for column in untouched.columns] == [False, False]
    reading = read(tmp_path_factory.mktemp("any"), small.data(), small.lines(TASK), whole[:end])
    by_protocol = {column.protocol: column.entries[0] for column in reading.columns}
    assert by_protocol["gen"].documents is not None
    assert by_protocol["choice"].documents is None
    (problem,) = reading.problems
    assert problem.file == f"samples_fin_deal_{STAMP}.jsonl"
    assert not problem.is_error


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_bytes_in_a_result_file(small: Run, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Half characters, depth and what is no text, in the middle of a file; the run beside it stays."""
    whole = small.result.read_bytes()
    place = data.draw(st.integers(0, len(whole)))
    bad = data.draw(
        st.sampled_from([b"\xed\xa0\x80", b"\\ud800", b"[" * 200_000, b"\0", b"1e999", b"NaN"]) | st.binary()
    )
    folder = tmp_path_factory.mktemp("any")
    (folder / "results_2026-02-02T02-02-02.json").write_bytes(whole[:place] + bad + whole[place:])
    reading = read(folder, small.data(), small.lines(TASK), small.samples("fin_deal").read_bytes())
    assert {"fin_deal", "fin_deal_gen"} <= {
        column.task + ("_gen" * (column.protocol == "gen")) for column in reading.columns
    }
