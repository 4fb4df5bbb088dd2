"""A table that grows: whatever rows are added, every old row keeps its split and its place among the old ones."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.data.normalise import normalise
from fin_plugins.data.splitting import by_text, first_seed, in_order, place

# Few letters, so that texts collide once they are folded.
ROWS = st.lists(st.tuples(st.text("aAbé \u00a0\0", max_size=4), st.sampled_from("xy")), max_size=12)
SHARES = st.sampled_from([(0.2, 0.1), (0.5, 0.0), (0.3, 0.6), (1.0, 0.0)])
SEEDS = st.integers(0, 2**32 - 1)


def table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame({"text": [text for text, _ in rows], "label": [label for _, label in rows]}, dtype=object)


def listed(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(frame["text"], frame["label"], strict=True))


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, SHARES, SEEDS, st.randoms())
def test_in_any_superset_every_old_row_keeps_its_split_and_the_order(old, new, shares, seed, random):
    both = [*old, *new]
    random.shuffle(both)
    test, validation = shares
    before = by_text(table(old), seed=seed, test=test, validation=validation)
    after = by_text(table(both), seed=seed, test=test, validation=validation)
    assert set(before) == set(after) and sum(map(len, after.values())) == len(both)
    for split, frame in before.items():
        assert [row for row in listed(after[split]) if row in set(old)] == with_repeats(listed(frame), after[split])
    assert [row for row in listed(in_order(table(both), seed)) if row in set(old)] == with_repeats(
        listed(in_order(table(old), seed)), table(both)
    )


def with_repeats(rows: list[tuple[str, str]], among: pd.DataFrame) -> list[tuple[str, str]]:
    """The same rows, each as often as it stands in the larger table, where a new row may be like an old one."""
    there = listed(among)
    return [row for row in dict.fromkeys(rows) for _ in range(there.count(row))]


@given(st.text(), SEEDS)
def test_a_place_depends_on_the_normalised_text_and_the_seed(text, seed):
    assert 0 <= place(text, seed) < 1
    assert place(text, seed) == place(f"  {normalise(text)}\n", seed)


def test_shares_are_met_roughly_and_no_text_is_parted():
    rows = table([(f"text {number % 1500}", "x") for number in range(2000)])
    parts = by_text(rows, test=0.2, validation=0.1)
    assert abs(len(parts["test"]) - 400) < 80 and abs(len(parts["validation"]) - 200) < 60
    texts = {split: set(frame["text"]) for split, frame in parts.items()}
    assert sum(map(len, texts.values())) == 1500


def test_another_seed_is_another_cut():
    rows = table([(f"text {number}", "x") for number in range(50)])
    assert listed(in_order(rows, 1)) != listed(in_order(rows, 2))
    assert set(by_text(rows, seed=1, test=0.5)["test"]["text"]) != set(by_text(rows, seed=2, test=0.5)["test"]["text"])


def test_a_seed_is_found_that_gives_small_splits_their_rows():
    rows = table([(f"text {number}", "x" if number % 2 else "y") for number in range(30)])
    seed = first_seed(rows, 0, test=0.2, validation=0.1)
    assert seed is not None
    parts = by_text(rows, seed=seed, test=0.2, validation=0.1)
    assert all(set(frame["label"]) == {"x", "y"} for frame in parts.values())
    assert first_seed(table([("a", "x"), ("A ", "y")]), 0, test=0.5) is None
    three = first_seed(rows.head(3), 0, test=0.2, validation=0.1)
    assert three is not None
    assert not any(frame.empty for frame in by_text(rows.head(3), seed=three, test=0.2, validation=0.1).values())
