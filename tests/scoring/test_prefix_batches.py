"""The order of documents, the size of batches, and which prefixes get a pass of their own."""

from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.scoring.label_trie import Document, label_trie
from fin_plugins.scoring.prefix_batches import (
    common_length,
    next_batch_size,
    order_documents,
    prefix_length,
    shared_tokens,
)


def document(*context: int, labels: int = 1) -> Document:
    return Document(context, (), label_trie(tuple((9, 9, 9)[:length] for length in range(1, labels + 1))))


def test_common_prefixes_stay_together_longest_first() -> None:
    first, second = range(10, 30), range(50, 70)
    documents = [document(1, *first, 1), document(1, *first, 2, 2, 2), document(1, *first, 3, 3)]
    documents += [document(1, *second, 1), document(1, *second, 2, 2)]
    ordered = order_documents(documents)
    assert [len(document.context) for document in ordered] == [24, 23, 22, 23, 22]
    assert [document.context[1] for document in ordered] == [10, 10, 10, 50, 50]


@given(
    st.lists(
        st.lists(st.integers(0, 2), min_size=1, max_size=6).map(lambda context: document(*context)),
        max_size=9,
    )
)
def test_ordering_keeps_all_documents(documents: list[Document]) -> None:
    documents = sorted(documents, key=lambda document: document.context)
    contexts = [document.context for document in documents]
    assert sorted(document.context for document in order_documents(documents)) == contexts


def test_batches_are_limited_by_documents_and_vocabulary_rows() -> None:
    documents = [document(1, 2, labels=1), document(1, 3, labels=3), document(1, 4, labels=1)]
    assert next_batch_size(documents, max_documents=8, max_rows=100) == 3
    assert next_batch_size(documents, max_documents=2, max_rows=100) == 2
    assert next_batch_size(documents, max_documents=8, max_rows=6) == 2  # both documents padded to three nodes
    assert next_batch_size(documents, max_documents=8, max_rows=5) == 1
    assert next_batch_size(documents[1:], max_documents=8, max_rows=1) == 1  # at least one


def test_rows_of_very_different_lengths_make_separate_batches() -> None:
    stem = tuple(range(100))
    long, middle, short = (document(*stem, *range(1000 * length, 1001 * length)) for length in (400, 390, 250))
    assert next_batch_size([long, middle, short], max_documents=8, max_rows=100) == 3  # padding 160 of 1040 tokens
    assert next_batch_size([long, long, short, short, short], max_documents=8, max_rows=100) == 4  # padding 450 of 1550
    alone = [document(*stem, *[length] * length) for length in (90, 40, 38, 5)]
    assert next_batch_size(alone, max_documents=8, max_rows=100) == 2  # shared tokens do not count: 102 of 168


def test_the_last_token_of_a_context_is_not_shared() -> None:
    assert shared_tokens([document(1, 2, 3), document(1, 2, 3)]) == (1, 2)
    assert shared_tokens([document(1, 2), document(1, 2, 3)]) == (1,)
    assert shared_tokens([document(5)]) == ()
    assert common_length((1, 2, 3), (1, 2)) == 2


def test_a_prefix_gets_a_pass_if_that_saves_enough() -> None:
    stem = tuple(range(100, 120))
    batch = [document(*stem, 1), document(*stem, 2)]
    assert prefix_length(batch, [], (), min_saving=20) == 20  # computed once instead of twice
    assert prefix_length(batch, [], (), min_saving=21) == 0
    assert prefix_length(batch, [], stem[:8], min_saving=20) == 8  # 12 more are not worth it: the cached part is used
    assert prefix_length(batch, [], stem[:8], min_saving=12) == 20
    assert prefix_length(batch, [], (*stem, 7), min_saving=20) == 20  # all cached


def test_a_single_document_computes_the_prefix_of_later_ones() -> None:
    stem = tuple(range(100, 120))
    alone, following = [document(*stem, 1, 2)], [document(*stem, 1, 3), *(document(*stem, 4, n) for n in range(3))]
    assert prefix_length(alone, following, (), min_saving=64) == 20  # for four others; 21 tokens would serve but one
    assert prefix_length(alone, following, (), min_saving=81) == 0
