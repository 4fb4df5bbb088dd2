"""Decontamination and leak counts: properties that hold for any texts."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.data.decontamination import NEAR_THRESHOLD, count_leaks, decontaminate, near_duplicates
from fin_plugins.data.text_hashes import normalise

# Few letters, so that texts collide once they are folded.
TEXTS = st.lists(st.text(alphabet="aAé ﬁİ\u00a0", max_size=3), max_size=12)
LONG = "a gardener counted nineteen copper kettles beside the old greenhouse before lunch on a windy day in april"


def frame(texts):
    return pd.DataFrame({"text": pd.Series(texts, dtype="object"), "label": ["x"] * len(texts)})


@given(TEXTS, TEXTS, TEXTS)
def test_cleaning_leaves_no_overlap_and_keeps_the_rest(train, validation, test):
    before = {"train": frame(train), "validation": frame(validation), "test": frame(test)}
    after = decontaminate(before)
    folded = {split: set(rows["text"].map(normalise)) for split, rows in after.items()}
    assert not folded["train"] & (folded["test"] | folded["validation"])
    assert not folded["validation"] & folded["test"]
    assert after["test"].equals(before["test"])
    excluded = {normalise(text) for text in [*test, *validation]} | {""}
    assert list(after["train"]["text"]) == [text for text in train if normalise(text) not in excluded]


def test_fewshot_rows_are_cleaned_too():
    after = decontaminate({"fewshot": frame(["A b", "c", " "]), "test": frame(["a  B"])})
    assert list(after["fewshot"]["text"]) == ["c"]


def test_leaks_count_exact_and_near_before_and_after():
    before = {"train": frame([LONG.upper(), LONG + " 2", "something else entirely"]), "test": frame([LONG, "new text"])}
    after = decontaminate(before)
    leaks = count_leaks(before, after)
    assert (leaks.exact_before, leaks.exact_after) == (1, 0)
    # The exact copy is dropped; the near one stays and counts from then on.
    assert (leaks.near_before, leaks.near_after) == (0, 1)


def test_leaks_without_a_train_split():
    assert count_leaks({"test": frame(["a"])}, {"test": frame(["a"])}).split is None


def test_near_duplicates_agree_with_all_pairs():
    words = LONG.split()
    texts = {" ".join(words[:cut] + ["and"] * more + words[cut:]) for cut in range(0, 18, 3) for more in range(3)}

    def shingles(text):
        return {text[i : i + 5] for i in range(len(text) - 4)}

    def similar(first, second):
        a, b = shingles(first), shingles(second)
        return first != second and len(a & b) / len(a | b) >= NEAR_THRESHOLD

    expected = {text: {other for other in texts if similar(text, other)} for text in texts}
    assert near_duplicates(texts, texts) == expected
    assert any(expected.values())
