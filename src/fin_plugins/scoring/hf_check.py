"""Whether a model gives through the KV cache and a tree mask what it gives in plain passes: tried, not looked up.

Architectures differ in what they make of a four-dimensional mask, of position ids and of a cache (recurrent layers,
ALiBi, attention kernels without masks); a few ignore them without a word.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.hf_greedy import Reply
from fin_plugins.scoring.hf_walk import Answers
from fin_plugins.scoring.trie import Tokens, label_trie

# Largest `tree_error` taken for rounding. SmolLM2-135M (30 layers) has 3e-6 in float32, 0.005 in float16 and 0.04 in
# bfloat16, random models of 48 layers up to 0.07; where positions are off by one, or a node sees padding or its
# neighbours, SmolLM2 has 0.19 and more.
TOLERANCE = {torch.float64: 5e-4, torch.float32: 5e-4, torch.float16: 0.05, torch.bfloat16: 0.15}

Walk = Callable[[Sequence[Document], int, torch.dtype, int], Iterator[tuple[Document, Answers]]]


def probe_documents(vocabulary: int) -> list[Document]:
    """Three short documents of random tokens with a common beginning, different lengths and tries of three levels."""
    draw = random.Random(3)  # noqa: S311 (no secret)
    contexts = [tuple(draw.randrange(vocabulary) for _ in range(length)) for length in (5, 2, 9, 5)]
    a, b, c, d, e, f = (draw.randrange(vocabulary) for _ in range(6))
    tries = [((a, b, c), (a, b, d), (a, e, f), (d,)), ((c, a, a), (c, b)), ((e, d, c), (f, d, b), (f,))]
    return [
        Document(contexts[0] + own, tuple(range(len(labels))), label_trie(labels))
        for own, labels in zip(contexts[1:], tries, strict=True)
    ]


def tree_error(walk: Walk, plain: Callable[[Tokens], torch.Tensor], vocabulary: int) -> float:
    """The tree's error on the probe (quadratic mean), as a fraction of how far answers differ from node to node.

    Args:
        walk: as `hf_walk.Walk.answers`.
        plain: logits [length, vocabulary] of a text, without cache and mask.
        vocabulary: the probe's tokens are below it.
    """
    seen: list[torch.Tensor] = []
    errors: list[float] = []
    # Two documents a pass, and a cached prefix however short: the last document finds it in the cache.
    for document, answers in walk(probe_documents(vocabulary), 2, torch.float32, 1):
        for continuation in document.trie.continuations:
            logits = plain(document.context + continuation[:-1])[len(document.context) - 1 :]
            for depth, expected in enumerate(logits.float().log_softmax(dim=-1).cpu()):
                found = answers.nodes[continuation[:depth]].edges.logprobs
                errors += [logprob - float(expected[token]) for token, logprob in found.items()]
                seen.append(expected)
    spread = float(torch.stack(seen).std(dim=0).mean())
    return math.hypot(*errors) / math.sqrt(len(errors)) / (spread or 1.0)


def reply_error(walk: Any, plain: Callable[[Tokens], torch.Tensor], vocabulary: int) -> float:
    """How far replies are from the likeliest tokens (quadratic mean), as a fraction of the logits' spread.

    Args:
        walk: as `hf_walk.Walk.answers`.
        plain: logits [length, vocabulary] of a text, without cache and mask.
        vocabulary: the probe's tokens are below it.
    """
    documents = probe_documents(vocabulary)
    lengths = dict(zip((document.context for document in documents), (4, 2, 5), strict=True))
    replies = {context: Reply(most, (), lambda _: False) for context, most in lengths.items()}
    gaps: list[float] = []
    spreads: list[float] = []
    for document, answers in walk(documents, 2, torch.float32, 1, replies):
        logits = plain(document.context + answers.reply[:-1])[len(document.context) - 1 :].float().cpu()
        gaps += [float(at.max() - at[token]) for at, token in zip(logits, answers.reply, strict=True)]
        spreads.append(float(logits.std(dim=-1).mean()))
    return math.hypot(*gaps) / math.sqrt(len(gaps)) / (sum(spreads) / len(spreads) or 1.0)


def exact_length(config: Any) -> int | None:
    """Up to how many tokens every one sees all before it at angles that do not depend on the text's length.

    Beyond a sliding window or an attention chunk a token does not see all of its context; rotary embeddings that
    change with the length (`dynamic`, `longrope`) turn a cached prefix by other angles than the whole text.

    Args:
        config: a `transformers` configuration of a text model.

    Returns:
        The number of tokens, None where there is no such bound.
    """
    layers = getattr(config, "per_layer_config", None) or [config]  # transformers 5: layers may differ
    bounds = [getattr(layer, name, None) for layer in layers for name in ("sliding_window", "attention_chunk_size")]
    return min((bound for bound in (*bounds, rope_length(config)) if bound), default=None)


def rope_length(config: Any) -> int | None:
    """Up to how many tokens a batch is turned by angles that do not depend on its longest text.

    Beyond, rotary embeddings of the types `dynamic` and `longrope` take other angles for all texts of a batch.

    Args:
        config: a `transformers` configuration of a text model.

    Returns:
        The number of tokens, None where the angles never depend on the length.
    """
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    bounds = []
    for settings in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        if settings.get("rope_type", settings.get("type")) in ("dynamic", "longrope"):
            trained = settings.get("original_max_position_embeddings")
            trained = trained or getattr(config, "original_max_position_embeddings", None)
            bounds.append(trained or config.max_position_embeddings)
    return min(bounds, default=None)
