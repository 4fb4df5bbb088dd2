"""Which candidate wins, against a plain reading of the rules."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.merging.search import choice
from fin_plugins.merging.search.config import Floor
from fin_plugins.merging.search.study import Candidate, Figure

finite = st.floats(-1, 1).map(lambda value: round(value, 2))
figures = st.lists(st.tuples(finite, finite, finite.map(abs)), min_size=1, max_size=8)


def made(values: list[tuple[float, float, float]]) -> list[Candidate]:
    one = [[Figure(value=value, low=value, high=value) for value in three] for three in values]
    return [
        Candidate(candidate=number, weights={}, tasks={}, worst="", left_out={}, seen=a, leave_out=b, divergence=c)
        for number, (a, b, c) in enumerate(one)
    ]


@settings(deadline=None)
@given(figures)
def test_the_best_keeps_both_floors_and_none_that_does_is_better(values: list[tuple[float, float, float]]) -> None:
    candidates, floor = made(values), Floor(leave_out=-0.1, divergence=0.5)
    kept = [seen for seen, left, far in values if left >= -0.1 and far <= 0.5]
    best = choice.best(candidates, floor)
    assert (best is None) == (not kept)
    if best is not None:
        assert best.seen.value == max(kept) and choice.broken(best, floor) == 0
        assert choice.value(best, floor) == best.seen.value
        assert all(seen < max(kept) for seen, left, far in values[: best.candidate] if left >= -0.1 and far <= 0.5)
    near = choice.nearest(candidates, floor)
    assert all(choice.broken(near, floor) <= choice.broken(one, floor) for one in candidates)


@settings(deadline=None)
@given(figures)
def test_without_a_floor_the_highest_wins(values: list[tuple[float, float, float]]) -> None:
    best = choice.best(made(values), Floor())
    assert best is not None and best.seen.value == max(seen for seen, _, _ in values)


@settings(deadline=None)
@given(figures)
def test_the_front_is_what_no_other_beats_in_both(values: list[tuple[float, float, float]]) -> None:
    front = {(one.seen.value, one.leave_out.value) for one in choice.front(made(values))}
    points = {(seen, left) for seen, left, _ in values}
    assert front == {p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)}


def test_a_broken_floor_weighs_more_than_it_wins() -> None:
    kept, broken = made([(0.5, 0.0, 0.1), (0.9, -0.2, 0.1)])
    floor = Floor(leave_out=-0.1)
    assert choice.value(kept, floor) > choice.value(broken, floor) == 0.9 - 10 * 0.1
