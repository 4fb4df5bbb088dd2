"""Greedy replies to the documents of one batch, written behind the keys and values that its pass has left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from fin_plugins.scoring.hf_cache import Kept
from fin_plugins.scoring.trie import Tokens


@dataclass(frozen=True)
class Reply:
    """What is asked of a reply."""

    most: int
    """It has at most so many tokens."""
    until: tuple[str, ...]
    """And ends where one of these stands in it."""
    ended: Callable[[Sequence[int]], bool] = field(compare=False)
    """Whether these tokens are a whole reply already."""


@dataclass
class Prompts:
    """Where the replies to a batch of B documents begin; its pass has been through the model."""

    cache: Kept
    seen: torch.Tensor
    """[B, columns] which columns of the cache belong to a document's text."""
    positions: torch.Tensor
    """[B, 1] position of the reply's first token."""
    first: torch.Tensor
    """[B] that token."""

    def take(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the batch only."""
        if len(rows) < len(self.first):
            self.cache.take(rows)
            chosen = torch.tensor(rows, device=self.first.device)
            self.seen, self.positions, self.first = (
                tensor.index_select(0, chosen) for tensor in (self.seen, self.positions, self.first)
            )


def write_replies(
    prompts: Prompts,
    replies: Sequence[Reply],
    call: Callable[..., torch.Tensor],
    mask: Callable[[torch.Tensor], torch.Tensor],
) -> list[Tokens]:
    """The likeliest token again and again, for each document until its own reply ends.

    Args:
        prompts: used up.
        replies: what is asked, one a document.
        call: as `hf_walk.Walk` takes it.
        mask: makes the model's attention mask of [B, 1, columns, keys], whether a column may look at a key.
    """
    written: list[list[int]] = [[] for _ in replies]
    rows = list(range(len(replies)))
    while rows:
        for row, token in zip(rows, prompts.first.tolist(), strict=True):
            written[row].append(token)
        open_rows = [row for row in rows if not _whole(written[row], replies[row])]
        if open_rows:
            prompts.take([index for index, row in enumerate(rows) if row in set(open_rows)])
            _step(prompts, call, mask)
        rows = open_rows
    return [tuple(tokens) for tokens in written]


def _whole(tokens: Sequence[int], reply: Reply) -> bool:
    return len(tokens) >= reply.most or reply.ended(tokens)


def _step(prompts: Prompts, call: Callable[..., torch.Tensor], mask: Callable[[torch.Tensor], torch.Tensor]) -> None:
    prompts.seen = torch.cat([prompts.seen, prompts.seen.new_ones(len(prompts.seen), 1)], dim=-1)
    logits = call(
        input_ids=prompts.first[:, None],
        position_ids=prompts.positions,
        attention_mask=mask(prompts.seen[:, None, None]),
        past_key_values=prompts.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    prompts.cache.passed(1)
    prompts.positions = prompts.positions + 1
    prompts.first = logits[:, -1].argmax(dim=-1)
