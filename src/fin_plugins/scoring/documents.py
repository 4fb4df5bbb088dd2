"""From lm-eval's requests, one per label, to documents: tokenized requests that share a context and a label trie.

lm-eval's `TemplateLM.loglikelihood` encodes two strings per label, the document's context again for each of them. Here
each distinct string is encoded once, all in one batch, with identical tokens as the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from fin_plugins.compat.lm_eval.models import TokenRequest
from fin_plugins.compat.lm_eval.prompts import has_bos_prefix
from fin_plugins.scoring.label_trie import Document, Tokens, label_trie

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

EncodedPair = tuple[list[int], list[int]]
"""Tokens of a context and of its continuation."""


class BatchEncoder(Protocol):
    """A model's `tok_encode` for a list of strings; each is encoded as if alone."""

    def __call__(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """Tokens of each string."""
        ...


@dataclass
class ScoringPlan:
    """Requests grouped into documents, and requests left to lm-eval's own code, by reason."""

    documents: list[Document] = field(default_factory=list)
    fallback: dict[str, list[int]] = field(default_factory=dict)

    def add_fallback(self, reason: str, requests: Sequence[int]) -> None:
        """Leave `requests` to lm-eval's own code."""
        self.fallback.setdefault(reason, []).extend(requests)


def encode_pairs(pairs: Sequence[tuple[str, str]], encode: BatchEncoder, prefix_token_id: int) -> list[EncodedPair]:
    """Tokenize (context, continuation) pairs exactly as `TemplateLM.loglikelihood` does for a causal model.

    White space at the end of the context moves to the continuation. The continuation's tokens are those of the joined
    string beyond the length of the context's tokens. An empty context becomes the prefix token, unless the continuation
    already starts with it: then it is the context, and the rest is the continuation.

    Args:
        pairs: (context, continuation), as lm-eval passes them.
        encode: called once with all distinct strings, and once more, with `add_special_tokens=False`, with the
            continuations of empty contexts, if any.
        prefix_token_id: the token that replaces an empty context.

    Raises:
        IndexError: context and continuation are both empty (as in lm-eval).
    """
    stripped = [context.rstrip() for context, _ in pairs]
    joined = [context + continuation for context, continuation in pairs]
    strings = [text for (context, _), *both in zip(pairs, stripped, joined, strict=True) if context for text in both]
    tokens = _encode_distinct(strings, encode)
    bare = _encode_distinct([text for context, text in pairs if not context], encode, add_special_tokens=False)
    return [
        _split_after_context(tokens[short], tokens[full])
        if context
        else _split_after_prefix(bare[continuation], prefix_token_id)
        for (context, continuation), short, full in zip(pairs, stripped, joined, strict=True)
    ]


def encode_batch(
    tokenizer: Any, strings: Sequence[str], bos: str | None, add_special_tokens: bool | None
) -> list[list[int]]:
    """Tokenize strings in at most two calls of the tokenizer.

    Args:
        tokenizer: loaded by transformers.
        strings: texts to encode.
        bos: a string that starts with this text gets no special tokens, because it has its own.
        add_special_tokens: whether the other strings get special tokens; None: as the tokenizer is configured.
    """
    settings = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
    encoded: dict[int, list[int]] = {}
    has_bos = [has_bos_prefix(text, bos) for text in strings]
    for flag, call_settings in ((False, settings), (True, {"add_special_tokens": False})):
        indices = [index for index, prefixed in enumerate(has_bos) if prefixed == flag]
        if indices:
            batch = tokenizer([strings[index] for index in indices], return_attention_mask=False, **call_settings)
            encoded.update(zip(indices, batch["input_ids"], strict=True))
    return [encoded[index] for index in range(len(strings))]


def plan_documents(
    requests: Sequence[TokenRequest], max_length: int, cost: Callable[[Document], tuple[int, int]]
) -> ScoringPlan:
    """Group requests by context.

    Documents are sorted by context tokens, so that those with a common prefix (the instruction) are adjacent.

    Args:
        requests: lm-eval's requests, in any order.
        max_length: largest length of context plus continuation, in tokens. lm-eval truncates longer ones, each label
            differently, so such a document has no single context.
        cost: (tokens computed by the trie, tokens computed by lm-eval) for a document.
    """
    plan = ScoringPlan()
    for context, indices in sorted(_indices_by_context(requests).items()):
        continuations = tuple(tuple(requests[index][2]) for index in indices)
        if not context or not all(continuations):
            plan.add_fallback("a context or continuation without tokens", indices)
        elif len(context) + max(map(len, continuations)) > max_length:
            plan.add_fallback("longer than the model's context", indices)
        else:
            document = Document(context, tuple(indices), label_trie(continuations))
            trie_cost, lm_eval_cost = cost(document)
            if trie_cost < lm_eval_cost:
                plan.documents.append(document)
            else:
                plan.add_fallback("long continuations, for which one pass per label is less work", indices)
    return plan


def count_truncated(truncated: dict[str, int], requests: "Sequence[Instance]", is_truncated: Sequence[bool]) -> None:
    """Add the number of truncated documents per task to `truncated`; a document counts once for all its requests."""
    documents = {
        (request.task_name or "", request.doc_id) for request, flag in zip(requests, is_truncated, strict=True) if flag
    }
    for task, _ in documents:
        truncated[task] = truncated.get(task, 0) + 1


def _indices_by_context(requests: Sequence[TokenRequest]) -> dict[Tokens, list[int]]:
    groups: dict[Tokens, list[int]] = {}
    for index, (_, context, _) in enumerate(requests):
        groups.setdefault(tuple(context), []).append(index)
    return groups


def _encode_distinct(strings: list[str], encode: BatchEncoder, **settings: bool) -> dict[str, list[int]]:
    distinct = list(dict.fromkeys(strings))
    return dict(zip(distinct, encode(distinct, **settings) if distinct else [], strict=True))


def _split_after_context(context: list[int], joined: list[int]) -> EncodedPair:
    # The context's own tokens, even if the joined string starts with others: lm-eval does the same.
    return list(context), joined[len(context) :]


def _split_after_prefix(tokens: list[int], prefix_token_id: int) -> EncodedPair:
    return (tokens[:1], tokens[1:]) if tokens[0] == prefix_token_id else ([prefix_token_id], list(tokens))
