"""A batch of documents as the tensors of one pass: each context's own tokens, and behind them the nodes of its trie.

A document's columns are its context from the shared prefix on, without the last token, padded on the right; then the
last token, whose position is the trie's root; then one token for every further node. A node may look at its document's
context, at its ancestors and at itself, and its position is that of the label's token in the text: so every node sees
exactly what it would see if its label stood there alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.trie import LabelTrie


@dataclass(frozen=True)
class TreeBatch:
    """Tensors of one pass, on the CPU. B documents, Q columns, K = prefix length + Q."""

    tokens: torch.Tensor
    """[B, Q] token ids."""
    positions: torch.Tensor
    """[B, Q] positions in the text."""
    allowed: torch.Tensor
    """[B, 1, Q, K] whether a column may look at a key."""
    nodes: int
    """The last so many columns are nodes of the tries, in the order of `trie.edges`; a smaller trie is padded."""


def tree_batch(documents: Sequence[Document], prefix: int) -> TreeBatch:
    """Lay out documents whose first `prefix` tokens are in the cache; each has at least one token more."""
    rest = [document.context[prefix:-1] for document in documents]
    width = max(map(len, rest))
    nodes = max(len(document.trie.edges) for document in documents)
    tokens = torch.zeros(len(documents), width + nodes, dtype=torch.long)
    positions = torch.zeros_like(tokens)
    columns = torch.ones(width + nodes, width + nodes, dtype=torch.bool).tril()
    columns[width:] = torch.eye(width + nodes, dtype=torch.bool)[width:]
    own = columns.repeat(len(documents), 1, 1)
    for row, document in enumerate(documents):
        length, size = len(rest[row]), len(document.trie.edges)
        tree = slice(width, width + size)
        tokens[row, :length] = torch.tensor(rest[row], dtype=torch.long)
        tokens[row, tree] = torch.tensor([document.context[-1], *(node[-1] for node in document.trie.edges if node)])
        positions[row, :width] = prefix + torch.arange(width)
        positions[row, tree] = len(document.context) - 1 + torch.tensor([len(node) for node in document.trie.edges])
        own[row, tree, :length] = True
        own[row, tree, tree] = _ancestors(document.trie)
    cached = own.new_ones(len(documents), width + nodes, prefix)
    return TreeBatch(tokens, positions, torch.cat([cached, own], dim=-1).unsqueeze(1), nodes)


@lru_cache(maxsize=256)
def _ancestors(trie: LabelTrie) -> torch.Tensor:
    """[nodes, nodes]: whether the second node is the first or stands above it."""
    row = {node: index for index, node in enumerate(trie.edges)}
    seen = torch.eye(len(row), dtype=torch.bool)
    for node, index in row.items():
        if node:
            seen[index] |= seen[row[node[:-1]]]
    return seen
