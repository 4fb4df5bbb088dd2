"""A batch as one sequence in which everything that its prompts begin with in common stands once.

The rows become a tree of tokens; a token sees its ancestors and itself only, at the position it has in its own row. So
every row's label has the probability it would have in a padded batch, and instructions, which are most of a prompt
here, are computed once a batch instead of once a row.
"""

from collections.abc import Sequence

import torch

from fin_plugins.training.examples import IGNORED


def shared_prefix(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Collate a batch into one sequence.

    The last token of a prompt is never shared: the first token of the label is read from its position.

    Args:
        rows: `input_ids` and `labels`, whose first counted position stands behind at least one token.

    Returns:
        `input_ids`, `labels`, `position_ids`, each (1, T); `attention_mask`, bool (1, 1, T, T); and `given`: the number
        of rows and that of their tokens.
    """
    tree = _Tree()
    for row in sorted(rows, key=lambda row: row["input_ids"]):
        tree.add(row["input_ids"], row["labels"])
    return {
        "input_ids": torch.tensor([tree.ids]),
        "labels": torch.tensor([tree.labels]),
        "position_ids": torch.tensor([tree.depths]),
        "attention_mask": _ancestors(tree.parents)[None, None],
        "given": torch.tensor([len(rows), sum(len(row["input_ids"]) for row in rows)]),
    }


class _Tree:
    """Tokens in the order they are laid out; a row's own tokens stand side by side."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def add(self, ids: Sequence[int], labels: Sequence[int]) -> None:
        own = next((index for index, label in enumerate(labels) if label != IGNORED), len(ids)) - 1
        node, depth = -1, 0
        while depth < own and (node, ids[depth]) in self._children:
            node = self._children[node, ids[depth]]
            depth += 1
        for index in range(depth, len(ids)):
            self._append(ids[index], labels[index], index, node)
            if index < own:
                self._children[node, ids[index]] = len(self.ids) - 1
            node = len(self.ids) - 1

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
