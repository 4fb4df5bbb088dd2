"""A batch as one sequence in which everything that its prompts begin with in common stands once.

The rows become a tree of tokens; a token sees its ancestors and itself only, at the position it has in its own row. So
every row's label has the probability it would have in a padded batch, and instructions, which are most of a prompt
here, are computed once a batch instead of once a row.
"""

from collections.abc import Sequence

import torch

from fin_plugins.training.examples import IGNORED


def shared_prefix(rows: Sequence[dict[str, list[int]]], hidden: int | None = None) -> dict[str, torch.Tensor]:
    """Collate a batch into one sequence of trees.

    The last token of a prompt is never shared: the first token of the label is read from its position.

    Args:
        rows: `input_ids` and `labels`, whose first counted position stands behind at least one token.
        hidden: the model's hidden size, for telling where a tree of its own is less work; None: one tree.

    Returns:
        `input_ids`, `labels`, `position_ids`, each (1, T); `attention_mask`, bool (1, 1, T, T); `trees`: their sizes,
        in order, each to be given to the model by itself; and `given`: the number of rows and that of their tokens.
    """
    trees = [_Tree()]
    for row in sorted(rows, key=lambda row: row["input_ids"]):
        if hidden and trees[-1].ids and not _worth_joining(trees[-1], row["input_ids"], hidden):
            trees.append(_Tree())
        trees[-1].add(row["input_ids"], row["labels"])
    return {
        "input_ids": torch.tensor([[token for tree in trees for token in tree.ids]]),
        "labels": torch.tensor([[label for tree in trees for label in tree.labels]]),
        "position_ids": torch.tensor([[depth for tree in trees for depth in tree.depths]]),
        "attention_mask": torch.block_diag(*(_ancestors(tree.parents) for tree in trees)).bool()[None, None],
        "trees": torch.tensor([len(tree.ids) for tree in trees]),
        "given": torch.tensor([len(rows), sum(len(row["input_ids"]) for row in rows)]),
    }


def _worth_joining(tree: "_Tree", ids: Sequence[int], hidden: int) -> bool:
    """Whether sharing a row's first tokens saves more than the attention between it and the tree costs.

    A kernel that takes a mask computes what it hides, too. With hidden size h, a layer's weights cost about 24 h²
    operations a token, and a pair of positions 4 h, both ways 8 h: so sharing n tokens pays where 3 h n exceeds the
    tree's size times the row's further tokens. Twice that, because small passes are slower a token (measured: batches
    of 16 rows of five tasks take a quarter less time than as one tree, of 8 as long).
    """
    shared = tree.shared(ids)
    return 6 * hidden * shared > len(tree.ids) * (len(ids) - shared)


class _Tree:
    """Tokens in the order they are laid out; a row's own tokens stand side by side."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def shared(self, ids: Sequence[int]) -> int:
        """How many of a row's first tokens stand here already, as far as they are anybody's to share."""
        return self._walk(ids, len(ids))[1]

    def add(self, ids: Sequence[int], labels: Sequence[int]) -> None:
        own = next((index for index, label in enumerate(labels) if label != IGNORED), len(ids)) - 1
        node, depth = self._walk(ids, own)
        for index in range(depth, len(ids)):
            self._append(ids[index], labels[index], index, node)
            if index < own:
                self._children[node, ids[index]] = len(self.ids) - 1
            node = len(self.ids) - 1

    def _walk(self, ids: Sequence[int], most: int) -> tuple[int, int]:
        """The node of the longest known beginning of a row, of `most` tokens at most, and its length."""
        node, depth = -1, 0
        while depth < most and (node, ids[depth]) in self._children:
            node = self._children[node, ids[depth]]
            depth += 1
        return node, depth

    def _append(self, token: int, label: int, depth: int, parent: int) -> None:
        self.ids.append(token)
        self.labels.append(label)
        self.depths.append(depth)
        self.parents.append(parent)


def _ancestors(parents: Sequence[int]) -> torch.Tensor:
    """[T, T]: whether the second token stands above the first, or is it."""
    seen = torch.eye(len(parents), dtype=torch.bool)
    for index, parent in enumerate(parents):
        if parent >= 0:
            seen[index] |= seen[parent]
    return seen
