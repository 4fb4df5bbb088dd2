from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from fin_plugins.scoring.documents import Document, Request, count_cut, plan_documents

tokens = st.lists(st.integers(0, 3), max_size=4)


def cheap(_document: Document) -> tuple[int, int]:
    return 0, 1


def request(context: list[int], continuation: list[int]) -> Request:
    return ("", ""), context, continuation


@given(st.lists(st.builds(request, tokens, tokens), max_size=20), st.booleans())
def test_every_request_is_in_one_place_and_in_its_order(requests: list[Request], ours: bool) -> None:
    plan = plan_documents(requests, 6, lambda _: (0, 1) if ours else (1, 1))
    placed = [index for document in plan.documents for index in document.requests]
    assert sorted(placed + [index for left in plan.leftover.values() for index in left]) == list(range(len(requests)))
    for document in plan.documents:
        for index, continuation in zip(document.requests, document.trie.continuations, strict=True):
            assert (requests[index][1], requests[index][2]) == (list(document.context), list(continuation))
            assert len(document.context) + len(continuation) <= 6
    assert not (plan.documents and not ours)


def test_neighbours_share_their_beginning() -> None:
    requests = [request([1, 9], [5]), request([0, 3], [5]), request([1, 2], [5]), request([1, 9], [6])]
    plan = plan_documents(requests, 10, cheap)
    assert [document.context for document in plan.documents] == [(0, 3), (1, 2), (1, 9)]
    assert plan.documents[2].requests == (0, 3)


def test_what_does_not_fit_says_why() -> None:
    requests = [request([1] * 5, [2, 2]), request([], [1]), request([1], []), request([1], [3]), request([2], [3])]
    plan = plan_documents(requests, 6, cheap)
    assert plan.leftover == {
        "a context or continuation without tokens": [1, 2, 3],  # a document goes one way or the other, as a whole
        "longer than the model's context": [0],
    }
    assert [document.requests for document in plan.documents] == [(4,)]


def test_a_cut_document_counts_once_however_many_requests_it_has() -> None:
    requests = [Instance("loglikelihood", {}, ("", ""), 0, (task, doc, 1)) for task in "ab" for doc in (0, 0, 1)]
    truncated = {"a": 2}
    count_cut(truncated, requests, [True, True, False, False, True, True])
    assert truncated == {"a": 3, "b": 2}
