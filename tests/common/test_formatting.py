"""Durations and sizes in words."""

import pytest

from fin_plugins.common.formatting import duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (2, "2 s"),
        (4.46, "4.5 s"),
        (9.97, "10 s"),
        (45, "45 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (91, "2 min"),
        (95, "2 min"),
        (360, "6 min"),
        (5380, "1 h 30 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "decimals", "words"),
    [(0, 0, "0 MB"), (12_345_678, 0, "12 MB"), (12_345_678, 1, "12.3 MB"), (1_250_000_000, 0, "1.2 GB")],
)
def test_a_size_in_words(count: int, decimals: int, words: str) -> None:
    assert size(count, decimals) == words
