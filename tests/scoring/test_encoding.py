"""Our tokenisation of requests against lm-eval's own: the demo model's real tokenizer, and one that puts BOS itself."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fin_plugins.scoring.encoding import encode_pairs

PIECES = [
    *("", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "\u200d", "label:", " label: ", "hawkish", " dovish", "1,234.5 %"),
    *("\u00e9", "e\u0301", "漢字", "🏦", "🏦🏽", "x" * 40),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>"),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=5).map("".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=8)


class Stock(TemplateLM):
    """lm-eval's tokenisation as it is; the tokens of the requests are the answers."""

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
        return [self.tok_encode(one, add_special_tokens) for one in string]

    def ours(self, pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        return encode_pairs(pairs, self.encode, self.prefix_token_id)

    def theirs(self, pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        return self.loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: list, **kwargs: object) -> list:
        return [(context, continuation) for _, context, continuation in requests]

    def loglikelihood_rolling(self, requests: list, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError


@pytest.fixture(scope="module", params=["demo", "with_bos"])
def stock(request: pytest.FixtureRequest, demo_model_path: Path, tiny_models: dict[str, Path]) -> Stock:
    folder = demo_model_path if request.param == "demo" else tiny_models["llama3"]
    return Stock(AutoTokenizer.from_pretrained(folder))


@settings(max_examples=200, deadline=None)
@given(pairs=PAIRS)
def test_same_tokens_as_lm_eval(stock: Stock, pairs: list[tuple[str, str]]) -> None:
    assert stock.ours(pairs) == stock.theirs(pairs)


def test_every_distinct_string_once_and_in_one_call(stock: Stock) -> None:
    stock.calls.clear()
    labels = [" hawkish", " dovish", " neutral", " dovish"]
    pairs = [(context, label) for context in ("a sentence\nlabel:", "another\nlabel:") for label in labels]
    assert stock.ours(pairs) == stock.theirs(pairs)
    (strings,) = stock.calls
    assert len(strings) == len(set(strings)) == 2 + 2 * 3


def test_empty_context_whose_continuation_starts_with_the_prefix_token(stock: Stock) -> None:
    prefix = stock.tokenizer.decode(stock.prefix_token_id)
    pairs = [("", prefix + "rate"), ("", "rate")]
    assert stock.ours(pairs) == stock.theirs(pairs)
    assert [context for context, _ in stock.ours(pairs)] == [[stock.prefix_token_id]] * 2


def test_lists_are_not_shared_between_requests(stock: Stock) -> None:
    (first, _), (second, _) = stock.ours([("a sentence", " up"), ("a sentence", " down")])
    first.append(1)
    assert first != second


def test_nothing_to_encode(stock: Stock) -> None:
    assert stock.ours([]) == []
    with pytest.raises(IndexError):
        stock.ours([("", "")])
