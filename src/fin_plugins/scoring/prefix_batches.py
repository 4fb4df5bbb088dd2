"""Batches of documents that share cached first tokens: their choice, and the KV caches they use."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from fin_plugins.compat.transformers import cached_layer
from fin_plugins.scoring.label_trie import Document, Tokens

LOOKAHEAD = 32
"""Number of documents after a batch that are compared with it for a common prefix."""
# Padding allowed in a batch: a fraction of its unshared tokens, or an absolute number. Rows of very different lengths
# gain nothing from sharing a batch: with 64 rows of fin_causal two thirds would be padding.
_MAX_PADDING_FRACTION, _NEGLIGIBLE_PADDING = 0.25, 64


def common_length(first: Tokens, second: Tokens) -> int:
    """Length of the common prefix."""
    for index, (a, b) in enumerate(zip(first, second)):  # noqa: B905 (their lengths differ)
        if a != b:
            return index
    return min(len(first), len(second))


def order_documents(documents: Sequence[Document]) -> list[Document]:
    """Place documents with the same prefix side by side, the longest of them first, to reduce padding.

    Args:
        documents: sorted by context, as `plan_documents` returns them.
    """
    groups: list[list[Document]] = []
    shared = 0
    for document in documents:
        common = common_length(groups[-1][-1].context, document.context) if groups else 0
        if not groups or 2 * common < shared:
            groups.append([document])
            shared = 0
        else:
            groups[-1].append(document)
            shared = min(shared or common, common)
    return [document for group in groups for document in sorted(group, key=lambda d: len(d.context), reverse=True)]


def next_batch_size(documents: Sequence[Document], max_documents: int, max_rows: int) -> int:
    """Number of leading documents that form the next batch, limited by size, memory and padding.

    Args:
        documents: the remaining documents, at least one.
        max_documents: largest number of documents.
        max_rows: largest number of positions whose full vocabulary is computed, padding included; a batch has at least
            one document, whatever it needs.
    """
    nodes = longest = tokens = 0
    first, shared = documents[0].context, len(documents[0].context)
    for count, document in enumerate(documents[:max_documents]):
        length = len(document.context)
        nodes, longest, tokens = max(nodes, len(document.trie.edges)), max(longest, length), tokens + length
        shared = min(shared, common_length(first, document.context))
        padding = (count + 1) * longest - tokens
        unshared = tokens - (count + 1) * shared
        too_padded = padding > max(_NEGLIGIBLE_PADDING, _MAX_PADDING_FRACTION * unshared)
        if count and ((count + 1) * nodes > max_rows or too_padded):
            return count
    return min(max_documents, len(documents))


def shared_tokens(batch: Sequence[Document]) -> Tokens:
    """Common prefix of all contexts of a batch, each without its last token."""
    contexts = [document.context[:-1] for document in batch]
    return min(contexts)[: common_length(min(contexts), max(contexts))]


def prefix_length(batch: Sequence[Document], following: Sequence[Document], cached: Tokens, min_saving: int) -> int:
    """Length of the batch's prefix that should be cached before the batch is computed.

    The last token of a context is never part of it: its position is the root of the trie and is computed with it.

    Args:
        batch: documents of one pass.
        following: documents of later passes, which also benefit from a cached prefix.
        cached: tokens whose keys and values are cached already.
        min_saving: the prefix is extended if that saves at least so many tokens.
    """
    shared = shared_tokens(batch)
    present = common_length(shared, cached)
    lengths = [len(shared)] * (len(batch) - 1)
    lengths += [common_length(shared, document.context[:-1]) for document in following[:LOOKAHEAD]]
    lengths.sort(reverse=True)
    savings = [((length - present) * (others + 1), length) for others, length in enumerate(lengths)]
    best, length = max(savings, default=(0, 0))
    return length if best >= min_saving else present


class PrefixCache(DynamicCache):
    """A read-only view of a cache's first tokens, shared by all documents of a batch; new tokens are not stored."""

    def __init__(self, cache: DynamicCache, length: int) -> None:
        super().__init__()
        self._source, self._length = cache, length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the prefix and of the new tokens, [B, heads, length + new, size]."""
        keys, values = cached_layer(self._source, layer_idx)
        return self._append(keys, key_states), self._append(values, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens in the prefix."""
        return self._length

    def _append(self, cached: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return torch.cat([cached[:, :, : self._length].expand(len(new), -1, -1, -1), new], dim=-2)


class AppendableCache(DynamicCache):
    """Like `PrefixCache`, but stores what the batch adds, so that a reply to each document can be generated after it.

    Args:
        cache: cache of a text.
        length: number of its first tokens that every document starts with; 0 if the cache may be empty.
        capacity: number of columns to reserve for passes after the first one.
    """

    def __init__(self, cache: DynamicCache, length: int, capacity: int) -> None:
        super().__init__()
        self._source, self._length, self._capacity = cache, length, capacity
        self._stored: dict[int, list[torch.Tensor]] = {}
        self._filled = length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all columns up to the new ones, [B, heads, columns, size]."""
        if layer_idx not in self._stored:
            self._stored[layer_idx] = [self._allocate(new) for new in (key_states, value_states)]
            if self._length:
                self._copy_prefix(self._stored[layer_idx], cached_layer(self._source, layer_idx))
        columns = self._filled + key_states.shape[-2]
        for stored, new in zip(self._stored[layer_idx], (key_states, value_states), strict=True):
            stored[:, :, self._filled : columns] = new
        keys, values = self._stored[layer_idx]
        return keys[:, :, :columns], values[:, :, :columns]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of columns stored."""
        return self._filled

    def advance(self, columns: int) -> None:
        """Count the columns of a completed pass as stored."""
        self._filled += columns

    def select_rows(self, rows: Sequence[int]) -> None:
        """Keep only these rows of the batch."""
        for layer, tensors in self._stored.items():
            indices = torch.tensor(rows, device=tensors[0].device)
            self._stored[layer] = [tensor.index_select(0, indices) for tensor in tensors]

    def _allocate(self, new: torch.Tensor) -> torch.Tensor:
        batch, heads, columns, size = new.shape
        return new.new_empty(batch, heads, self._length + columns + self._capacity, size)

    def _copy_prefix(self, targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
        for target, source in zip(targets, sources, strict=True):
            target[:, :, : self._length] = source[:, :, : self._length]
