"""The study file has complete lines of one search only; the best candidate follows a plain reading of the rules."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.merging.search.search_config import Floor
from fin_plugins.merging.search.study import (
    FILE,
    Candidate,
    Estimate,
    best_candidate,
    constraint_violation,
    nearest_candidate,
    open_study,
    pareto_front,
    penalized_score,
)

HEADER = {"config": {"rows": 3, "floor": {"leave_out": -0.1}}, "rows": {"a": "1"}}
SCORES = st.floats(-1, 1).map(lambda value: round(value, 6) + 0.0)
SHORT_SCORES = st.floats(-1, 1).map(lambda value: round(value, 2))
VALUES = st.lists(st.tuples(SHORT_SCORES, SHORT_SCORES, SHORT_SCORES.map(abs)), min_size=1, max_size=8)


def make_candidate(number: int, seen: float, leave_out: float = 0.0, divergence: float = 0.0) -> Candidate:
    estimates = [Estimate(value=value, low=value, high=value) for value in (seen, leave_out, divergence)]
    return Candidate(
        candidate=number,
        weights={"é": 0.25},
        seen=estimates[0],
        tasks={"a": seen},
        leave_out=estimates[1],
        worst="é",
        left_out={"é": leave_out},
        divergence=estimates[2],
    )


def make_candidates(values: list[tuple[float, float, float]]) -> list[Candidate]:
    return [make_candidate(number, *value) for number, value in enumerate(values)]


def write_study(folder: Path, scores: list[float]) -> bytes:
    with open_study(folder, HEADER, fresh=True) as study:
        study.add_base({"a": 0.25})
        for number, score in enumerate(scores):
            study.add(make_candidate(number, score))
    return (folder / FILE).read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scores=st.lists(SCORES, min_size=1, max_size=4), data=st.data())
def test_a_study_cut_anywhere_is_completed_to_the_same_file(
    tmp_path: Path, scores: list[float], data: st.DataObject
) -> None:
    complete = write_study(tmp_path, scores)
    cut = data.draw(st.integers(0, len(complete)))
    (tmp_path / FILE).write_bytes(complete[:cut])
    with open_study(tmp_path, HEADER) as study:
        done = len(study.candidates)
        assert [candidate.seen.value for candidate in study.candidates] == scores[:done]
        assert done == max(0, complete[:cut].count(b"\n") - 2)
        if study.base is None:
            study.add_base({"a": 0.25})
        for number in range(done, len(scores)):
            study.add(make_candidate(number, scores[number]))
    assert (tmp_path / FILE).read_bytes() == complete


def test_another_header_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    complete = write_study(tmp_path, [0.5])
    other = {"config": {"rows": 4, "floor": {"leave_out": -0.2}}, "rows": {"a": "1"}, "new": 1}
    with pytest.raises(FinError, match=r"config\.floor\.leave_out, config\.rows, new"), open_study(tmp_path, other):
        pass
    assert (tmp_path / FILE).read_bytes() == complete
    with open_study(tmp_path, HEADER) as study:
        assert len(study.candidates) == 1


@pytest.mark.parametrize("line", [b"{}\n", b"no json\n", b'{"candidate": 0}\n', b"[]\n"])
def test_a_damaged_line_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / FILE).write_bytes(write_study(tmp_path, [0.5]) + line)
    with pytest.raises(FinError, match="damaged"), open_study(tmp_path, HEADER):
        pass


def test_candidates_out_of_order_are_refused(tmp_path: Path) -> None:
    with open_study(tmp_path, HEADER) as study:
        study.add_base({"a": 0.1})
        study.add(make_candidate(1, 0.5))
    with pytest.raises(FinError, match="damaged"), open_study(tmp_path, HEADER):
        pass


def test_two_searches_cannot_write_one_study(tmp_path: Path) -> None:
    with (
        open_study(tmp_path, HEADER),
        pytest.raises(FinError, match="another search"),
        open_study(tmp_path, HEADER),
    ):
        pass


@settings(deadline=None)
@given(VALUES)
def test_the_best_candidate_keeps_the_floor(values: list[tuple[float, float, float]]) -> None:
    candidates, floor = make_candidates(values), Floor(leave_out=-0.1, divergence=0.5)
    feasible = [number for number, (_, left, far) in enumerate(values) if left >= -0.1 and far <= 0.5]
    best = best_candidate(candidates, floor)
    assert (best is None) == (not feasible)
    if best is not None:
        highest = max(values[number][0] for number in feasible)
        assert best.candidate == next(number for number in feasible if values[number][0] == highest)
        assert constraint_violation(best, floor) == 0 and penalized_score(best, floor) == best.seen.value
    nearest = constraint_violation(nearest_candidate(candidates, floor), floor)
    assert all(nearest <= constraint_violation(candidate, floor) for candidate in candidates)


@settings(deadline=None)
@given(VALUES)
def test_without_a_floor_the_highest_score_wins(values: list[tuple[float, float, float]]) -> None:
    best = best_candidate(make_candidates(values), Floor())
    assert best is not None and best.seen.value == max(seen for seen, _, _ in values)


@settings(deadline=None)
@given(VALUES)
def test_no_candidate_beats_the_front_in_both(values: list[tuple[float, float, float]]) -> None:
    front = {(it.seen.value, it.leave_out.value) for it in pareto_front(make_candidates(values))}
    points = {(seen, left) for seen, left, _ in values}
    assert front == {p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)}


def test_a_violation_costs_more_than_it_wins() -> None:
    feasible, infeasible = make_candidates([(0.5, 0.0, 0.1), (0.9, -0.2, 0.1)])
    floor = Floor(leave_out=-0.1)
    assert penalized_score(feasible, floor) > penalized_score(infeasible, floor) == 0.9 - 10 * 0.1
