"""The order of documents, the size of batches, and how many shared tokens get a pass of their own."""

from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.hf_batches import common_length, in_order, shared_tokens, take_batch, worthwhile_prefix
from fin_plugins.scoring.trie import label_trie


def document(*context: int, labels: int = 1) -> Document:
    return Document(context, (), label_trie(tuple((9, 9, 9)[:length] for length in range(1, labels + 1))))


def test_same_beginnings_stay_together_and_the_longest_come_first() -> None:
    one, other = range(10, 30), range(50, 70)
    documents = [document(1, *one, 1), document(1, *one, 2, 2, 2), document(1, *one, 3, 3), document(1, *other, 1)]
    documents.append(document(1, *other, 2, 2))
    ordered = in_order(documents)
    assert [len(found.context) for found in ordered] == [24, 23, 22, 23, 22]
    assert [found.context[1] for found in ordered] == [10, 10, 10, 50, 50]


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(lambda context: document(*context)), max_size=9)
)
def test_order_loses_nothing(documents: list[Document]) -> None:
    documents = sorted(documents, key=lambda found: found.context)
    assert sorted(found.context for found in in_order(documents)) == [found.context for found in documents]


def test_batches_are_bounded_by_documents_and_by_rows_of_vocabulary() -> None:
    documents = [document(1, 2, labels=1), document(1, 3, labels=3), document(1, 4, labels=1)]
    assert take_batch(documents, size=8, rows=100) == 3
    assert take_batch(documents, size=2, rows=100) == 2
    assert take_batch(documents, size=8, rows=6) == 2  # two documents, each padded to the three nodes of the second
    assert take_batch(documents, size=8, rows=5) == 1
    assert take_batch(documents[1:], size=8, rows=1) == 1  # one at least


def test_rows_of_very_different_lengths_make_batches_of_their_own() -> None:
    stem = tuple(range(100))
    long, middle, short = (document(*stem, *range(1000 * length, 1001 * length)) for length in (400, 390, 250))
    assert take_batch([long, middle, short], size=8, rows=100) == 3  # 160 of 1040 own tokens is little
    assert take_batch([long, long, short, short, short], size=8, rows=100) == 4  # then 450 of 1550
    alone = [document(*stem, *[length] * length) for length in (90, 40, 38, 5)]
    assert take_batch(alone, size=8, rows=100) == 2  # what is shared is no one's own: 102 of 168


def test_the_last_token_of_a_context_is_not_shared() -> None:
    assert shared_tokens([document(1, 2, 3), document(1, 2, 3)]) == (1, 2)
    assert shared_tokens([document(1, 2), document(1, 2, 3)]) == (1,)
    assert shared_tokens([document(5)]) == ()
    assert common_length((1, 2, 3), (1, 2)) == 2


def test_shared_tokens_get_a_pass_where_it_pays() -> None:
    stem = tuple(range(100, 120))
    batch = [document(*stem, 1), document(*stem, 2)]
    assert worthwhile_prefix(batch, [], (), worth=20) == 20  # computed once instead of twice
    assert worthwhile_prefix(batch, [], (), worth=21) == 0
    assert worthwhile_prefix(batch, [], stem[:8], worth=20) == 8  # 12 more are not worth it: what is there is used
    assert worthwhile_prefix(batch, [], stem[:8], worth=12) == 20
    assert worthwhile_prefix(batch, [], (*stem, 7), worth=20) == 20  # all is there


def test_a_single_document_computes_for_those_to_come() -> None:
    stem = tuple(range(100, 120))
    alone, following = [document(*stem, 1, 2)], [document(*stem, 1, 3), *(document(*stem, 4, n) for n in range(3))]
    assert worthwhile_prefix(alone, following, (), worth=64) == 20  # for four others; 21 tokens would serve but one
    assert worthwhile_prefix(alone, following, (), worth=81) == 0
