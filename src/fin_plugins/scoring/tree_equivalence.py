"""Measures whether a model gives the same output with a KV cache and a tree mask as in plain passes.

Architectures treat four-dimensional masks, position ids and caches differently (recurrent layers, ALiBi, attention
kernels without masks), and some ignore them silently. So each model is tried before it is trusted.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fin_plugins.scoring.hf_passes import DocumentScorer, ReplyRequest
from fin_plugins.scoring.label_trie import Document, Tokens, label_trie

# Largest `tree_error` attributed to rounding. SmolLM2-135M (30 layers) has 3e-6 in float32, 0.005 in float16 and 0.04
# in bfloat16, random models of 48 layers up to 0.07. With positions off by one, or a node that attends to padding or
# to its neighbours, SmolLM2 has 0.19 and more.
TOLERANCE = {torch.float64: 5e-4, torch.float32: 5e-4, torch.float16: 0.05, torch.bfloat16: 0.15}

PlainLogits = Callable[[Tokens], torch.Tensor]
"""Logits [length, vocabulary] of a text, computed without cache or mask."""


def tree_error(scorer: DocumentScorer, plain_logits: PlainLogits, vocabulary: int) -> float:
    """Error of tree passes on test documents (root mean square), relative to the spread between nodes.

    Args:
        scorer: the tree passes to test.
        plain_logits: the reference.
        vocabulary: upper bound for the tokens of the test documents.
    """
    references: list[torch.Tensor] = []
    errors: list[float] = []
    # Two documents per pass, and a cached prefix however short: the last document finds it in the cache.
    for document, output in scorer.score(_test_documents(vocabulary), 2, torch.float32, 1):
        for continuation in document.trie.continuations:
            logits = plain_logits(document.context + continuation[:-1])[len(document.context) - 1 :]
            for depth, expected in enumerate(logits.float().log_softmax(dim=-1).cpu()):
                logprobs = output.nodes[continuation[:depth]].edges.logprobs
                errors += [logprob - float(expected[token]) for token, logprob in logprobs.items()]
                references.append(expected)
    spread = float(torch.stack(references).std(dim=0).mean())
    return math.hypot(*errors) / math.sqrt(len(errors)) / (spread or 1.0)


def reply_error(scorer: DocumentScorer, plain_logits: PlainLogits, vocabulary: int) -> float:
    """Gap between replies and the likeliest tokens (root mean square), relative to the logits' spread.

    Args:
        scorer: the tree passes to test.
        plain_logits: the reference.
        vocabulary: upper bound for the tokens of the test documents.
    """
    documents = _test_documents(vocabulary)
    lengths = dict(zip((document.context for document in documents), (4, 2, 5), strict=True))
    replies = {context: ReplyRequest(length, (), lambda _: False) for context, length in lengths.items()}
    gaps: list[float] = []
    spreads: list[float] = []
    for document, output in scorer.score(documents, 2, torch.float32, 1, replies):
        reply = output.reply or ()
        logits = plain_logits(document.context + reply[:-1])[len(document.context) - 1 :].float().cpu()
        gaps += [float(row.max() - row[token]) for row, token in zip(logits, reply, strict=True)]
        spreads.append(float(logits.std(dim=-1).mean()))
    return math.hypot(*gaps) / math.sqrt(len(gaps)) / (sum(spreads) / len(spreads) or 1.0)


def exact_length(config: Any) -> int | None:
    """Number of tokens up to which each token sees all before it, at angles independent of the text's length.

    Beyond a sliding window or an attention chunk a token no longer sees its whole context. Rotary embeddings that
    depend on the length (`dynamic`, `longrope`) rotate a cached prefix by other angles than the full text.

    Args:
        config: `transformers` configuration of a text model.

    Returns:
        The number of tokens, or None if there is no bound.
    """
    layers = getattr(config, "per_layer_config", None) or [config]  # transformers 5: layers may differ
    bounds = [getattr(layer, name, None) for layer in layers for name in ("sliding_window", "attention_chunk_size")]
    return min((bound for bound in (*bounds, rope_exact_length(config)) if bound), default=None)


def rope_exact_length(config: Any) -> int | None:
    """Number of tokens up to which rotary angles do not depend on the longest text of a batch.

    Beyond, rotary embeddings of types `dynamic` and `longrope` use other angles for all texts of the batch.

    Args:
        config: `transformers` configuration of a text model.

    Returns:
        The number of tokens, or None if the angles never depend on the length.
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    bounds = []
    for settings in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        if settings.get("rope_type", settings.get("type")) in ("dynamic", "longrope"):
            trained = settings.get("original_max_position_embeddings")
            trained = trained or getattr(config, "original_max_position_embeddings", None)
            bounds.append(trained or config.max_position_embeddings)
    return min(bounds, default=None)


def _test_documents(vocabulary: int) -> Sequence[Document]:
    """Three short documents of random tokens with a common prefix, different lengths and tries of three levels."""
    rng = random.Random(3)  # noqa: S311 (no secret)
    contexts = [tuple(rng.randrange(vocabulary) for _ in range(length)) for length in (5, 2, 9, 5)]
    a, b, c, d, e, f = (rng.randrange(vocabulary) for _ in range(6))
    tries = [((a, b, c), (a, b, d), (a, e, f), (d,)), ((c, a, a), (c, b)), ((e, d, c), (f, d, b), (f,))]
    return [
        Document(contexts[0] + suffix, tuple(range(len(labels))), label_trie(labels))
        for suffix, labels in zip(contexts[1:], tries, strict=True)
    ]
