"""All labels of many documents from one pass a batch, through the KV cache of a Hugging Face model; replies, too."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import DynamicCache

from fin_plugins.scoring.attention_mask import as_mask
from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.hf_batches import LOOKAHEAD, common_length, shared_tokens, take_batch, worthwhile_prefix
from fin_plugins.scoring.hf_cache import Kept, Prefix
from fin_plugins.scoring.hf_greedy import Prompts, Reply, write_replies
from fin_plugins.scoring.hf_tree import TreeBatch, tree_batch
from fin_plugins.scoring.trie import Edges, LabelTrie, Tokens

# A pass of its own reads all weights once more.
WORTH_A_PASS = 64
# Numbers in the logits of one pass: 2**27 are 0.5 GiB in float32, and log_softmax makes them twice.
MOST_LOGITS = 2**27


@dataclass(frozen=True)
class Node:
    """What the model says at one node of a trie."""

    edges: Edges
    likeliest: int
    """The token of the highest log-probability; of equals the one that `argmax` names, as in lm-eval."""


@dataclass(frozen=True)
class Answers:
    """What the model says at all nodes of one document's trie."""

    nodes: Mapping[Tokens, Node]
    dtype: torch.dtype
    """Of the log-probabilities."""
    reply: Tokens | None = None
    """The greedy reply to the document, where one was asked for."""

    def scores(self, trie: LabelTrie) -> list[tuple[float, bool]]:
        """Log-likelihood and whether greedy decoding would write it, of every continuation, as lm-eval's `hf` gives it.

        lm-eval leaves the sum in the log-probabilities' own type, so in bfloat16 it is rounded: two labels may tie.
        """
        sums = torch.tensor([s.loglikelihood for s in trie.scores({n: a.edges for n, a in self.nodes.items()})])
        return [
            (total, all(self.nodes[labels[:depth]].likeliest == token for depth, token in enumerate(labels)))
            for total, labels in zip(sums.to(self.dtype).tolist(), trie.continuations, strict=True)
        ]


class Walk:
    """Scores documents batch by batch; the tokens that neighbours begin with are computed once.

    Args:
        call: Runs the model without gradients on keyword arguments of its `forward`; its logits, [B, kept, vocabulary].
        device: Where the model takes its input.
        mask: Type of the attention mask: `torch.bool`, or the type of a mask that is added to the attention scores.
        vocabulary: Number of tokens the model knows.
    """

    def __init__(
        self, call: Callable[..., torch.Tensor], device: torch.device, mask: torch.dtype, vocabulary: int
    ) -> None:
        self._call, self._device, self._mask, self._vocabulary = call, device, mask, vocabulary
        self._have: Tokens = ()
        self._cache = DynamicCache()

    def answers(
        self,
        documents: Sequence[Document],
        size: int,
        dtype: torch.dtype | None,
        worth: int = WORTH_A_PASS,
        replies: Mapping[Tokens, Reply] | None = None,
    ) -> Iterator[tuple[Document, Answers]]:
        """Every document with the answers of all its nodes.

        Args:
            documents: neighbours share their beginning (`in_order`).
            size: largest number of documents in a pass; halved for good where the device's memory does not suffice.
            dtype: of the log-probabilities; None: that of the logits.
            worth: shared tokens are computed in a pass of their own where that saves so many tokens.
            replies: by context, what replies to write along.
        """
        at = 0
        while at < len(documents):
            count = take_batch(documents[at : at + size], size, MOST_LOGITS // self._vocabulary)
            batch, following = documents[at : at + count], documents[at + count : at + count + LOOKAHEAD]
            prefix = worthwhile_prefix(batch, following, self._have, worth)
            try:
                found = self._pass(batch, prefix, dtype, [(replies or {}).get(one.context) for one in batch])
            except Exception as error:
                if count == 1 or not should_reduce_batch_size(error):
                    raise
                size = count // 2
                found = []
            if not found:  # out of the handler, which would keep the tensors of the failed pass alive
                self._forget()
                continue
            yield from zip(batch, found, strict=True)
            at += count

    def _pass(
        self, batch: Sequence[Document], prefix: int, dtype: torch.dtype | None, replies: Sequence[Reply | None]
    ) -> list[Answers]:
        self._reach(shared_tokens(batch)[:prefix])
        inputs = tree_batch(batch, prefix)
        room = max((reply.most for reply in replies if reply), default=0)
        cache = Kept(self._cache, prefix, room) if room else Prefix(self._cache, prefix) if prefix else None
        logits = self._call(
            input_ids=inputs.tokens.to(self._device),
            position_ids=inputs.positions.to(self._device),
            attention_mask=self._attention_mask(inputs.allowed),
            use_cache=cache is not None,
            logits_to_keep=inputs.nodes,
            **({} if cache is None else {"past_key_values": cache}),
        )
        kept = logits[:, -inputs.nodes :]  # a model that does not know `logits_to_keep` gives all positions
        answers, first = _answers(batch, torch.log_softmax(kept, dim=-1, dtype=dtype)), kept[:, 0].argmax(dim=-1)
        del logits, kept  # large
        if not isinstance(cache, Kept):
            return answers
        texts = self._replies(inputs, cache, first, replies)
        return [replace(one, reply=text) for one, text in zip(answers, texts, strict=True)]

    def _replies(
        self, inputs: TreeBatch, cache: Kept, first: torch.Tensor, replies: Sequence[Reply | None]
    ) -> list[Tokens | None]:
        """The replies to a batch that has gone through the model; None where none is asked for."""
        columns = inputs.tokens.shape[1]
        root = columns - inputs.nodes  # looks at all of its document's text, and at no other node
        cache.passed(columns)
        seen, positions = inputs.allowed[:, 0, root], inputs.positions[:, [root]] + 1
        prompts = Prompts(cache, seen.to(self._device), positions.to(self._device), first.to(self._device))
        asked = {row: reply for row, reply in enumerate(replies) if reply}
        prompts.take(list(asked))
        written = write_replies(prompts, list(asked.values()), self._call, self._attention_mask)
        found = dict(zip(asked, written, strict=True))
        return [found.get(row) for row in range(len(replies))]

    def _reach(self, tokens: Tokens) -> None:
        """Have `tokens` in the cache, computing those that are not there yet."""
        common = common_length(tokens, self._have)
        if common == len(tokens):
            return
        self._cache.crop(common - len(self._have))
        self._have = self._have[:common]
        new = torch.tensor([tokens[common:]], device=self._device)
        self._call(input_ids=new, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._have = tokens

    def _forget(self) -> None:
        self._have, self._cache = (), DynamicCache()
        gc.collect()
        clear_device_cache()

    def _attention_mask(self, allowed: torch.Tensor) -> torch.Tensor:
        return as_mask(allowed.to(self._device), self._mask)


def _answers(batch: Sequence[Document], logprobs: torch.Tensor) -> list[Answers]:
    """The edges' log-probabilities out of [B, nodes, vocabulary], fetched from the device at once."""
    asked = [
        (row, column, token)
        for row, document in enumerate(batch)
        for column, edges in enumerate(document.trie.edges.values())
        for token in edges
    ]
    rows, columns, tokens = torch.tensor(asked, dtype=torch.long, device=logprobs.device).view(-1, 3).T
    values = iter(logprobs[rows, columns, tokens].tolist())
    best = logprobs.argmax(dim=-1, keepdim=True)
    top, likeliest = logprobs.gather(-1, best).squeeze(-1).tolist(), best.squeeze(-1).tolist()
    return [
        Answers(
            {
                node: Node(Edges({token: next(values) for token in edges}, top[row][column]), likeliest[row][column])
                for column, (node, edges) in enumerate(document.trie.edges.items())
            },
            logprobs.dtype,
        )
        for row, document in enumerate(batch)
    ]
