"""lm-eval's tokenisation of (context, continuation) pairs, with every distinct string encoded once, all in one batch.

lm-eval's `TemplateLM.loglikelihood` encodes two strings for every choice, the context of a document again for each of
its labels. The token lists made here are the same ones.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from fin_plugins.compat.lm_eval.prompts import has_bos_prefix

Encoded = tuple[list[int], list[int]]


class EncodeMany(Protocol):
    """A model's `tok_encode` over a list: for each string what a call with that string alone gives."""

    def __call__(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """Tokens of every string."""
        ...


def encode_pairs(pairs: Sequence[tuple[str, str]], encode: EncodeMany, prefix_token_id: int) -> list[Encoded]:
    """Tokens of context and continuation of every pair, as `TemplateLM.loglikelihood` makes them for a causal model.

    White space at the end of the context moves to the continuation; the continuation's tokens are those of the joined
    string behind as many as the context alone has. An empty context becomes the prefix token, unless the continuation
    starts with that token already: then it is the context, and the continuation is what follows.

    Args:
        pairs: (context, continuation) as lm-eval hands them over.
        encode: Called once with all distinct strings, and once more, with `add_special_tokens=False`, with the
            continuations of empty contexts where there are any.
        prefix_token_id: The token that stands for an empty context.

    Raises:
        IndexError: as lm-eval does, where context and continuation are both empty.
    """
    stripped = [context.rstrip() for context, _ in pairs]
    wholes = [context + continuation for context, continuation in pairs]
    asked = [text for (context, _), *both in zip(pairs, stripped, wholes, strict=True) if context for text in both]
    tokens = _encode_distinct(asked, encode)
    bare = _encode_distinct([text for context, text in pairs if not context], encode, add_special_tokens=False)
    return [
        _behind_context(tokens[context], tokens[whole]) if given else _behind_prefix(bare[alone], prefix_token_id)
        for (given, alone), context, whole in zip(pairs, stripped, wholes, strict=True)
    ]


def encode_all(
    tokenizer: Any, strings: Sequence[str], begin: str | None, add_special_tokens: bool | None
) -> list[list[int]]:
    """Tokens of every string, in two calls of the tokenizer at most.

    Args:
        tokenizer: as transformers loads it.
        strings: what to encode.
        begin: a string that begins so gets no special tokens: it has its own.
        add_special_tokens: whether the others do; None: as the tokenizer is set.
    """
    settings = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
    found: dict[int, list[int]] = {}
    begun = [has_bos_prefix(text, begin) for text in strings]
    for flag, how in ((False, settings), (True, {"add_special_tokens": False})):
        chosen = [index for index, has in enumerate(begun) if has == flag]
        if chosen:
            encoded = tokenizer([strings[index] for index in chosen], return_attention_mask=False, **how)
            found.update(zip(chosen, encoded["input_ids"], strict=True))
    return [found[index] for index in range(len(strings))]


def _encode_distinct(strings: list[str], encode: EncodeMany, **settings: bool) -> dict[str, list[int]]:
    distinct = list(dict.fromkeys(strings))
    return dict(zip(distinct, encode(distinct, **settings) if distinct else [], strict=True))


def _behind_context(context: list[int], whole: list[int]) -> Encoded:
    # The context's own tokens, also where the joined string begins with others: so does lm-eval.
    return list(context), whole[len(context) :]


def _behind_prefix(tokens: list[int], prefix_token_id: int) -> Encoded:
    return (tokens[:1], tokens[1:]) if tokens[0] == prefix_token_id else ([prefix_token_id], list(tokens))
