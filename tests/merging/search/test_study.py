"""The study file: whole lines only, nothing mixed."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.merging.search.study import FILE, Candidate, Figure, opened

HEADER = {"config": {"rows": 3, "floor": {"leave_out": -0.1}}, "rows": {"a": "1"}}
finite = st.floats(-1, 1).map(lambda value: round(value, 6) + 0.0)


def candidate(number: int, value: float = 0.5) -> Candidate:
    figure = Figure(value=value, low=value, high=value)
    return Candidate(
        candidate=number,
        weights={"é": 0.25},
        seen=figure,
        tasks={"a": value},
        leave_out=figure,
        worst="é",
        left_out={"é": value},
        divergence=figure,
    )


def written(folder: Path, values: list[float]) -> bytes:
    with opened(folder, HEADER, fresh=True) as study:
        study.add_base({"a": 0.25})
        for number, value in enumerate(values):
            study.add(candidate(number, value))
    return (folder / FILE).read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(finite, min_size=1, max_size=4), data=st.data())
def test_cut_anywhere_it_goes_on_to_the_same_file(tmp_path: Path, values: list[float], data: st.DataObject) -> None:
    whole = written(tmp_path, values)
    cut = data.draw(st.integers(0, len(whole)))
    (tmp_path / FILE).write_bytes(whole[:cut])
    with opened(tmp_path, HEADER) as study:
        done = len(study.candidates)
        assert [one.seen.value for one in study.candidates] == values[:done]
        assert done == max(0, whole[:cut].count(b"\n") - 2)
        if study.base is None:
            study.add_base({"a": 0.25})
        for number in range(done, len(values)):
            study.add(candidate(number, values[number]))
    assert (tmp_path / FILE).read_bytes() == whole


def test_another_header_says_what_differs(tmp_path: Path) -> None:
    whole = written(tmp_path, [0.5])
    other = {"config": {"rows": 4, "floor": {"leave_out": -0.2}}, "rows": {"a": "1"}, "new": 1}
    with pytest.raises(FinError, match=r"another config\.floor\.leave_out, config\.rows, new: name another output"):
        opened(tmp_path, other).__enter__()
    assert (tmp_path / FILE).read_bytes() == whole
    with opened(tmp_path, HEADER) as study:
        assert len(study.candidates) == 1


@pytest.mark.parametrize("line", [b"{}\n", b"no json\n", b'{"candidate": 0}\n', b"[]\n"])
def test_a_damaged_line_is_said(tmp_path: Path, line: bytes) -> None:
    (tmp_path / FILE).write_bytes(written(tmp_path, [0.5]) + line)
    with pytest.raises(FinError, match="damaged"):
        opened(tmp_path, HEADER).__enter__()


def test_candidates_out_of_order_are_damage(tmp_path: Path) -> None:
    with opened(tmp_path, HEADER) as study:
        study.add_base({"a": 0.1})
        study.add(candidate(1))
    with pytest.raises(FinError, match="damaged"):
        opened(tmp_path, HEADER).__enter__()


def test_two_searches_do_not_write_one_study(tmp_path: Path) -> None:
    with opened(tmp_path, HEADER), pytest.raises(FinError, match="another search writes there"):
        opened(tmp_path, HEADER).__enter__()
