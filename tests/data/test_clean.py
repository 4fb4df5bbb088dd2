"""Normalising, cleaning, splitting, near-duplicates: properties that must hold whatever the texts."""

import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from fin_plugins.data import leaks, splitting
from fin_plugins.data.clean import clean
from fin_plugins.data.normalise import normalise

# Few letters, so that texts collide once they are folded.
TEXTS = st.lists(st.text(alphabet="aAé ﬁİ\u00a0", max_size=3), max_size=12)


def frame(texts):
    return pd.DataFrame({"text": pd.Series(texts, dtype="object"), "label": ["x"] * len(texts)})


@given(st.text())
def test_normalise_is_idempotent(text):
    once = normalise(text)
    assert normalise(once) == once
    assert once == once.strip() and "  " not in once


def test_normalise_folds_form_space_and_case():
    assert normalise(" ＡＢ\u00a0c\n STRASSE ") == normalise("ab C straße") == "ab c strasse"


@given(TEXTS, TEXTS, TEXTS)
def test_cleaning_leaves_no_overlap_and_keeps_the_rest(train, validation, test):
    before = {"train": frame(train), "validation": frame(validation), "test": frame(test)}
    after = clean(before)
    folded = {split: set(rows["text"].map(normalise)) for split, rows in after.items()}
    assert not folded["train"] & (folded["test"] | folded["validation"])
    assert not folded["validation"] & folded["test"]
    assert after["test"].equals(before["test"])
    held = {normalise(text) for text in [*test, *validation]} | {""}
    assert list(after["train"]["text"]) == [text for text in train if normalise(text) not in held]


def test_fewshot_rows_are_cleaned_too():
    after = clean({"fewshot": frame(["A b", "c", " "]), "test": frame(["a  B"])})
    assert list(after["fewshot"]["text"]) == ["c"]


@given(TEXTS, st.integers(0, 4), st.integers(0, 4))
@example(["a\0", "a"], 1, 0)  # numpy's own strings lose the NUL
def test_grouped_split_never_parts_a_text(texts, validation, test):
    parts = splitting.grouped(frame(texts), validation=validation, test=test)
    folded = [set(rows["text"].map(normalise)) for rows in parts.values()]
    assert sum(map(len, folded)) == len(set().union(*folded))
    assert sum(map(len, parts.values())) == len(texts)
    assert len(parts["validation"]) <= validation and len(parts["test"]) <= test


def test_splits_of_ours_are_the_same_each_time_and_meet_their_sizes():
    rows = frame([f"text {n}" for n in range(100)])
    one, other = (splitting.grouped(rows, validation=10, test=20) for _ in range(2))
    assert all(one[split].equals(other[split]) for split in one)
    assert [len(one[split]) for split in ("train", "validation", "test")] == [70, 10, 20]
    assert {len(part) for part in splitting.at_random(rows, validation=10, test=20).values()} == {70, 10, 20}


def test_draw_keeps_the_natural_rate():
    rows = pd.DataFrame({"text": [str(n) for n in range(1000)], "label": ["causal"] * 66 + ["noise"] * 934})
    parts = splitting.draw(rows, 100)
    assert (parts["test"]["label"] == "causal").sum() == 7
    assert not set(parts["test"]["text"]) & set(parts["fewshot"]["text"]) and len(parts["fewshot"]) == 900


LONG = "a gardener counted nineteen copper kettles beside the old greenhouse before lunch on a windy day in april"


def test_leaks_count_exact_and_near_before_and_after():
    before = {"train": frame([LONG.upper(), LONG + " 2", "something else entirely"]), "test": frame([LONG, "new text"])}
    after = clean(before)
    found = leaks.count(before, after)
    assert (found.exact_before, found.exact_after) == (1, 0)
    # The exact copy is gone; the near one stays, and now it is what leaks.
    assert (found.near_before, found.near_after) == (0, 1)


def test_leaks_without_a_train_split():
    assert leaks.count({"test": frame(["a"])}, {"test": frame(["a"])}).split is None


def test_near_duplicates_agree_with_all_pairs():
    words = LONG.split()
    texts = {" ".join(words[:cut] + ["and"] * more + words[cut:]) for cut in range(0, 18, 3) for more in range(3)}

    def shingles(text):
        return {text[i : i + 5] for i in range(len(text) - 4)}

    def alike(one, other):
        a, b = shingles(one), shingles(other)
        return one != other and len(a & b) / len(a | b) >= leaks.THRESHOLD

    expected = {one: {other for other in texts if alike(one, other)} for one in texts}
    assert leaks.near_duplicates(texts, texts) == expected
    assert any(expected.values())
