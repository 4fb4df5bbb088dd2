"""Sample files line by line: what makes documents one and the same."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.reading.samples import unique


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_hashes_become_unique_and_pair_by_occurrence(hashes: list[str]) -> None:
    found = unique(hashes)
    assert len(set(found)) == len(found) == len(hashes)
    assert [one.partition("#")[0] for one in found] == hashes
    assert set(found) == {
        name if number == 1 else f"{name}#{number}"
        for name, count in Counter(hashes).items()
        for number in range(1, count + 1)
    }
