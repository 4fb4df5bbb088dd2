"""Requests to documents: tokens equal to lm-eval's, grouping by context, and truncated documents."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fin_plugins.compat.lm_eval.models import TokenRequest
from fin_plugins.scoring.documents import count_truncated, encode_pairs, plan_documents
from fin_plugins.scoring.label_trie import Document

tokens = st.lists(st.integers(0, 3), max_size=4)


def trie_is_cheaper(_document: Document) -> tuple[int, int]:
    return 0, 1


def request(context: list[int], continuation: list[int]) -> TokenRequest:
    return ("", ""), context, continuation


@given(st.lists(st.builds(request, tokens, tokens), max_size=20), st.booleans())
def test_every_request_is_planned_once_and_in_order(requests: list[TokenRequest], ours: bool) -> None:
    plan = plan_documents(requests, 6, lambda _: (0, 1) if ours else (1, 1))
    placed = [index for document in plan.documents for index in document.requests]
    assert sorted(placed + [index for left in plan.fallback.values() for index in left]) == list(range(len(requests)))
    for document in plan.documents:
        for index, continuation in zip(document.requests, document.trie.continuations, strict=True):
            assert (requests[index][1], requests[index][2]) == (list(document.context), list(continuation))
            assert len(document.context) + len(continuation) <= 6
    assert not (plan.documents and not ours)


def test_documents_with_a_common_prefix_are_adjacent() -> None:
    requests = [request([1, 9], [5]), request([0, 3], [5]), request([1, 2], [5]), request([1, 9], [6])]
    plan = plan_documents(requests, 10, trie_is_cheaper)
    assert [document.context for document in plan.documents] == [(0, 3), (1, 2), (1, 9)]
    assert plan.documents[2].requests == (0, 3)


def test_fallback_has_a_reason() -> None:
    requests = [request([1] * 5, [2, 2]), request([], [1]), request([1], []), request([1], [3]), request([2], [3])]
    plan = plan_documents(requests, 6, trie_is_cheaper)
    assert plan.fallback == {
        "a context or continuation without tokens": [1, 2, 3],  # all requests of a document take the same path
        "longer than the model's context": [0],
    }
    assert [document.requests for document in plan.documents] == [(4,)]


def test_a_truncated_document_counts_once_for_all_its_requests() -> None:
    requests = [Instance("loglikelihood", {}, ("", ""), 0, (task, doc, 1)) for task in "ab" for doc in (0, 0, 1)]
    truncated = {"a": 2}
    count_truncated(truncated, requests, [True, True, False, False, True, True])
    assert truncated == {"a": 3, "b": 2}


PIECES = [
    *("", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u200d", "label:", " label: ", "hawkish", " dovish", "1,234.5 %"),
    *("\u00e9", "e\u0301", "漢字", "🏦", "🏦🏽", "x" * 40),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>"),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=5).map("".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=8)


class LmEvalTokenization(TemplateLM):
    """lm-eval's own tokenization; returns the tokens of the requests as answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.calls: list[list[str]] = []

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.bos_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
        return self.tokenizer.encode(
            string, **({} if add_special_tokens is None else {"add_special_tokens": add_special_tokens})
        )

    def encode(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        self.calls.append(string)
        return [self.tok_encode(text, add_special_tokens) for text in string]

    def ours(self, pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        return encode_pairs(pairs, self.encode, self.prefix_token_id)

    def stock(self, pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        return self.loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: list, **kwargs: object) -> list:
        return [(context, continuation) for _, context, continuation in requests]

    def loglikelihood_rolling(self, requests: list, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError


@pytest.fixture(scope="module", params=["demo", "with_bos"])
def tokenization(
    request: pytest.FixtureRequest, demo_model_path: Path, tiny_models: dict[str, Path]
) -> LmEvalTokenization:
    folder = demo_model_path if request.param == "demo" else tiny_models["llama3"]
    return LmEvalTokenization(AutoTokenizer.from_pretrained(folder))


@settings(max_examples=80, deadline=None)
@given(pairs=PAIRS)
def test_same_tokens_as_lm_eval(tokenization: LmEvalTokenization, pairs: list[tuple[str, str]]) -> None:
    assert tokenization.ours(pairs) == tokenization.stock(pairs)


def test_distinct_strings_are_encoded_in_one_call(tokenization: LmEvalTokenization) -> None:
    tokenization.calls.clear()
    labels = [" hawkish", " dovish", " neutral", " dovish"]
    pairs = [(context, label) for context in ("a sentence\nlabel:", "another\nlabel:") for label in labels]
    assert tokenization.ours(pairs) == tokenization.stock(pairs)
    (strings,) = tokenization.calls
    assert len(strings) == len(set(strings)) == 2 + 2 * 3


def test_empty_context_whose_continuation_starts_with_the_prefix_token(tokenization: LmEvalTokenization) -> None:
    prefix = tokenization.tokenizer.decode(tokenization.prefix_token_id)
    pairs = [("", prefix + "rate"), ("", "rate")]
    assert tokenization.ours(pairs) == tokenization.stock(pairs)
    assert [context for context, _ in tokenization.ours(pairs)] == [[tokenization.prefix_token_id]] * 2


def test_requests_do_not_share_lists(tokenization: LmEvalTokenization) -> None:
    (first, _), (second, _) = tokenization.ours([("a sentence", " up"), ("a sentence", " down")])
    first.append(1)
    assert first != second


def test_empty_input(tokenization: LmEvalTokenization) -> None:
    assert tokenization.ours([]) == []
    with pytest.raises(IndexError):
        tokenization.ours([("", "")])
