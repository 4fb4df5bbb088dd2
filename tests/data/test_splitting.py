"""Splits: reproducible, without equal texts on two sides, and stable when a table grows."""

import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fin_plugins.data.splitting import (
    find_seed,
    sort_by_text_hash,
    split_at_random,
    split_by_text_hash,
    split_grouped,
    split_off_stratified_test,
    text_position,
)
from fin_plugins.data.text_hashes import normalise

# Few letters, so that texts collide once they are folded.
ROWS = st.lists(st.tuples(st.text("aAbé \u00a0\0", max_size=4), st.sampled_from("xy")), max_size=12)
TEXTS = st.lists(st.text(alphabet="aAé ﬁİ\u00a0", max_size=3), max_size=12)
SHARES = st.sampled_from([(0.2, 0.1), (0.5, 0.0), (0.3, 0.6), (1.0, 0.0)])
SEEDS = st.integers(0, 2**32 - 1)


def table(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame({"text": [text for text, _ in rows], "label": [label for _, label in rows]}, dtype=object)


def listed(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(frame["text"], frame["label"], strict=True))


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, SHARES, SEEDS, st.randoms())
def test_rows_keep_their_split_and_order_when_others_are_added(old, new, shares, seed, random):
    both = [*old, *new]
    random.shuffle(both)
    test, validation = shares
    before = split_by_text_hash(table(old), seed=seed, test=test, validation=validation)
    after = split_by_text_hash(table(both), seed=seed, test=test, validation=validation)
    assert set(before) == set(after) and sum(map(len, after.values())) == len(both)
    for split, frame in before.items():
        assert [row for row in listed(after[split]) if row in set(old)] == with_repeats(listed(frame), after[split])
    assert [row for row in listed(sort_by_text_hash(table(both), seed)) if row in set(old)] == with_repeats(
        listed(sort_by_text_hash(table(old), seed)), table(both)
    )


def with_repeats(rows: list[tuple[str, str]], among: pd.DataFrame) -> list[tuple[str, str]]:
    """The same rows, each as often as in the larger table, where a new row may equal an old one."""
    larger = listed(among)
    return [row for row in dict.fromkeys(rows) for _ in range(larger.count(row))]


@given(st.text(), SEEDS)
def test_a_position_depends_on_the_normalised_text_and_the_seed(text, seed):
    assert 0 <= text_position(text, seed) < 1
    assert text_position(text, seed) == text_position(f"  {normalise(text)}\n", seed)


def test_shares_are_met_roughly_and_equal_texts_stay_together():
    rows = table([(f"text {number % 1500}", "x") for number in range(2000)])
    parts = split_by_text_hash(rows, test=0.2, validation=0.1)
    assert abs(len(parts["test"]) - 400) < 80 and abs(len(parts["validation"]) - 200) < 60
    texts = {split: set(frame["text"]) for split, frame in parts.items()}
    assert sum(map(len, texts.values())) == 1500


def test_another_seed_gives_another_split():
    rows = table([(f"text {number}", "x") for number in range(50)])
    assert listed(sort_by_text_hash(rows, 1)) != listed(sort_by_text_hash(rows, 2))
    assert set(split_by_text_hash(rows, seed=1, test=0.5)["test"]["text"]) != set(
        split_by_text_hash(rows, seed=2, test=0.5)["test"]["text"]
    )


def test_find_seed_gives_small_splits_rows_of_every_label():
    rows = table([(f"text {number}", "x" if number % 2 else "y") for number in range(30)])
    seed = find_seed(rows, 0, test=0.2, validation=0.1)
    assert seed is not None
    parts = split_by_text_hash(rows, seed=seed, test=0.2, validation=0.1)
    assert all(set(frame["label"]) == {"x", "y"} for frame in parts.values())
    assert find_seed(table([("a", "x"), ("A ", "y")]), 0, test=0.5) is None
    three = find_seed(rows.head(3), 0, test=0.2, validation=0.1)
    assert three is not None
    assert not any(
        frame.empty for frame in split_by_text_hash(rows.head(3), seed=three, test=0.2, validation=0.1).values()
    )


def frame_of(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"text": pd.Series(texts, dtype="object"), "label": ["x"] * len(texts)})


@given(TEXTS, st.integers(0, 4), st.integers(0, 4))
@example(["a\0", "a"], 1, 0)  # numpy's own strings lose the NUL
def test_a_grouped_split_keeps_equal_texts_together(texts, validation, test):
    parts = split_grouped(frame_of(texts), validation=validation, test=test)
    folded = [set(rows["text"].map(normalise)) for rows in parts.values()]
    assert sum(map(len, folded)) == len(set().union(*folded))
    assert sum(map(len, parts.values())) == len(texts)
    assert len(parts["validation"]) <= validation and len(parts["test"]) <= test


def test_splits_are_reproducible_and_have_their_sizes():
    rows = frame_of([f"text {n}" for n in range(100)])
    first, second = (split_grouped(rows, validation=10, test=20) for _ in range(2))
    assert all(first[split].equals(second[split]) for split in first)
    assert [len(first[split]) for split in ("train", "validation", "test")] == [70, 10, 20]
    assert {len(part) for part in split_at_random(rows, validation=10, test=20).values()} == {70, 10, 20}


def test_a_stratified_test_set_keeps_the_label_frequencies():
    rows = pd.DataFrame({"text": [str(n) for n in range(1000)], "label": ["causal"] * 66 + ["noise"] * 934})
    parts = split_off_stratified_test(rows, 100)
    assert (parts["test"]["label"] == "causal").sum() == 7
    assert not set(parts["test"]["text"]) & set(parts["fewshot"]["text"]) and len(parts["fewshot"]) == 900
