"""Tree attention: each document's context with all nodes of its label trie in one row of a batch, and the mask for it.

A row holds the context from the shared prefix on, without its last token, padded on the right; then the last token,
whose position is the trie's root; then one token for each further node. A node attends to its document's context, to
its ancestors and to itself, and its position is that of the label's token in the text. So it sees exactly what it would
see if its label were the only one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from fin_plugins.compat.transformers import attention_of
from fin_plugins.scoring.label_trie import Document, LabelTrie


@dataclass(frozen=True)
class TreeBatch:
    """Tensors of one pass, on the CPU. B documents, Q columns, K = prefix length + Q keys."""

    tokens: torch.Tensor
    """[B, Q] token ids."""
    positions: torch.Tensor
    """[B, Q] positions in the text."""
    allowed: torch.Tensor
    """[B, 1, Q, K] whether a column attends to a key."""
    nodes: int
    """Number of trailing columns that are trie nodes, in the order of `trie.edges`; a smaller trie is padded."""


def tree_batch(documents: Sequence[Document], prefix: int) -> TreeBatch:
    """Lay out documents whose first `prefix` tokens are cached; each must have at least one more token."""
    suffixes = [document.context[prefix:-1] for document in documents]
    width = max(map(len, suffixes))
    nodes = max(len(document.trie.edges) for document in documents)
    tokens = torch.zeros(len(documents), width + nodes, dtype=torch.long)
    positions = torch.zeros_like(tokens)
    columns = torch.ones(width + nodes, width + nodes, dtype=torch.bool).tril()
    columns[width:] = torch.eye(width + nodes, dtype=torch.bool)[width:]
    uncached = columns.repeat(len(documents), 1, 1)
    for row, document in enumerate(documents):
        length, size = len(suffixes[row]), len(document.trie.edges)
        tree = slice(width, width + size)
        tokens[row, :length] = torch.tensor(suffixes[row], dtype=torch.long)
        tokens[row, tree] = torch.tensor([document.context[-1], *(node[-1] for node in document.trie.edges if node)])
        positions[row, :width] = prefix + torch.arange(width)
        positions[row, tree] = len(document.context) - 1 + torch.tensor([len(node) for node in document.trie.edges])
        uncached[row, tree, :length] = True
        uncached[row, tree, tree] = _ancestor_mask(document.trie)
    cached = uncached.new_ones(len(documents), width + nodes, prefix)
    return TreeBatch(tokens, positions, torch.cat([cached, uncached], dim=-1).unsqueeze(1), nodes)


def mask_dtype(text_config: Any, dtype: torch.dtype) -> torch.dtype:
    """Data type of a four-dimensional attention mask: `torch.bool` for SDPA, otherwise the model's.

    PyTorch's `scaled_dot_product_attention` takes a boolean mask. transformers' `eager` attention adds the mask to the
    scores, and would silently add True as 1: it needs 0 for allowed keys and the lowest number for the others.

    Args:
        text_config: `transformers` configuration of a loaded text model.
        dtype: data type that the model computes in.
    """
    return torch.bool if attention_of(text_config) == "sdpa" else dtype


def as_mask(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Convert a boolean mask to a data type from `mask_dtype`; shape and device stay the same.

    Args:
        allowed: bool, whether a token attends to another.
        dtype: data type of the mask.
    """
    if dtype == torch.bool:
        return allowed
    return torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)


@lru_cache(maxsize=256)
def _ancestor_mask(trie: LabelTrie) -> torch.Tensor:
    """[nodes, nodes]: whether the second node is the first or one of its ancestors."""
    row = {node: index for index, node in enumerate(trie.edges)}
    mask = torch.eye(len(row), dtype=torch.bool)
    for node, index in row.items():
        if node:
            mask[index] |= mask[row[node[:-1]]]
    return mask
