"""Batches as one sequence in which common beginnings of prompts occur once.

The rows form a tree of tokens. A token sees only its ancestors and itself, at its position in its own row, so each
label has the probability that it has in a padded batch. Instructions, which make up most of a prompt here, are computed
once per batch instead of once per row.
"""

from collections.abc import Sequence

import torch

from fin_plugins.training.training_examples import IGNORED


def collate_shared_prefix(
    rows: Sequence[dict[str, list[int]]], hidden_size: int | None = None
) -> dict[str, torch.Tensor]:
    """Collate a batch into one sequence of trees.

    The last token of a prompt is never shared, because the first token of the label is predicted at its position.

    Args:
        rows: `input_ids` and `labels`; at least one token must precede the first counted label.
        hidden_size: hidden size of the model, to decide when a separate tree costs less; None: one tree.

    Returns:
        `input_ids`, `labels` and `position_ids`, each (1, T); `attention_mask`, bool (1, 1, T, T); `trees`, the sizes
        of the trees in order, each of which goes through the model separately; and `given`, the number of rows and of
        their tokens.
    """
    trees = [_Tree()]
    for row in sorted(rows, key=lambda row: row["input_ids"]):
        if hidden_size and trees[-1].ids and not _worth_joining(trees[-1], row["input_ids"], hidden_size):
            trees.append(_Tree())
        trees[-1].add(row["input_ids"], row["labels"])
    return {
        "input_ids": torch.tensor([[token for tree in trees for token in tree.ids]]),
        "labels": torch.tensor([[label for tree in trees for label in tree.labels]]),
        "position_ids": torch.tensor([[depth for tree in trees for depth in tree.depths]]),
        "attention_mask": torch.block_diag(*(_ancestor_mask(tree.parents) for tree in trees)).bool()[None, None],
        "trees": torch.tensor([len(tree.ids) for tree in trees]),
        "given": torch.tensor([len(rows), sum(len(row["input_ids"]) for row in rows)]),
    }


def _worth_joining(tree: "_Tree", ids: Sequence[int], hidden_size: int) -> bool:
    """Whether sharing a row's prefix saves more than the attention between the row and the tree costs.

    A kernel with a mask also computes the masked pairs. With hidden size h, the weights of a layer cost about 24 h²
    operations per token, and a pair of positions 4 h, or 8 h in both directions: sharing n tokens pays if 3 h n exceeds
    the size of the tree times the row's other tokens. The factor is twice that, because small passes are slower per
    token (measured: batches of 16 rows of five tasks take a quarter less time than as one tree, of 8 the same).
    """
    shared = tree.shared_length(ids)
    return 6 * hidden_size * shared > len(tree.ids) * (len(ids) - shared)


class _Tree:
    """Tokens in layout order; the tokens that only one row has are adjacent."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def shared_length(self, ids: Sequence[int]) -> int:
        """Number of a row's first tokens that the tree has as shareable tokens."""
        return self._walk(ids, len(ids))[1]

    def add(self, ids: Sequence[int], labels: Sequence[int]) -> None:
        shareable = next((index for index, label in enumerate(labels) if label != IGNORED), len(ids)) - 1
        node, depth = self._walk(ids, shareable)
        for index in range(depth, len(ids)):
            self._append(ids[index], labels[index], index, node)
            if index < shareable:
                self._children[node, ids[index]] = len(self.ids) - 1
            node = len(self.ids) - 1

    def _walk(self, ids: Sequence[int], limit: int) -> tuple[int, int]:
        """The node at the end of a row's longest prefix in the tree, of at most `limit` tokens, and its length."""
        node, depth = -1, 0
        while depth < limit and (node, ids[depth]) in self._children:
            node = self._children[node, ids[depth]]
            depth += 1
        return node, depth

    def _append(self, token: int, label: int, depth: int, parent: int) -> None:
        self.ids.append(token)
        self.labels.append(label)
        self.depths.append(depth)
        self.parents.append(parent)


def _ancestor_mask(parents: Sequence[int]) -> torch.Tensor:
    """[T, T]: whether the second token is an ancestor of the first or the first itself."""
    mask = torch.eye(len(parents), dtype=torch.bool)
    for index, parent in enumerate(parents):
        if parent >= 0:
            mask[index] |= mask[parent]
    return mask
