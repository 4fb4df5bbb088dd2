"""Forward passes of a Hugging Face model over batches of documents: all labels from one pass, then greedy replies."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import DynamicCache

from fin_plugins.scoring.label_trie import Document, EdgeLogprobs, LabelTrie, Tokens
from fin_plugins.scoring.prefix_batches import (
    LOOKAHEAD,
    AppendableCache,
    PrefixCache,
    common_length,
    next_batch_size,
    prefix_length,
    shared_tokens,
)
from fin_plugins.scoring.tree_attention import TreeBatch, as_mask, tree_batch

MIN_SAVING = 64
"""Tokens that a separate pass over a prefix must save: each pass reads all weights once more."""
MAX_LOGITS = 2**27
"""Numbers in the logits of one pass: 2**27 take 0.5 GiB in float32, and log_softmax doubles that."""

ModelCall = Callable[..., torch.Tensor]
"""Runs a model without gradients on keyword arguments of its `forward`; returns logits [B, kept, vocabulary]."""


@dataclass(frozen=True)
class NodeOutput:
    """The model's output at one node of a trie."""

    edges: EdgeLogprobs
    likeliest: int
    """The token with the highest log-probability; among equals the one that `argmax` returns, as in lm-eval."""


@dataclass(frozen=True)
class ReplyRequest:
    """Limits of a greedy reply."""

    max_tokens: int
    until: tuple[str, ...]
    """Strings that end the reply."""
    is_complete: Callable[[Sequence[int]], bool] = field(compare=False)
    """Whether these tokens already form a complete reply."""


@dataclass(frozen=True)
class DocumentOutput:
    """The model's output at all nodes of one document's trie."""

    nodes: Mapping[Tokens, NodeOutput]
    dtype: torch.dtype
    """Data type of the log-probabilities."""
    reply: Tokens | None = None
    """The greedy reply to the document, if one was requested."""

    def scores(self, trie: LabelTrie) -> list[tuple[float, bool]]:
        """Log-likelihood and greediness of every continuation, as lm-eval's `hf` returns them.

        lm-eval leaves the sum in the log-probabilities' data type, so it is rounded in bfloat16: two labels may tie.
        """
        scores = trie.scores({node: output.edges for node, output in self.nodes.items()})
        sums = torch.tensor([score.loglikelihood for score in scores])
        return [
            (total, all(self.nodes[label[:depth]].likeliest == token for depth, token in enumerate(label)))
            for total, label in zip(sums.to(self.dtype).tolist(), trie.continuations, strict=True)
        ]


class DocumentScorer:
    """Scores documents in batches, and computes the tokens that neighbouring documents start with only once.

    Args:
        call: the model.
        device: device of the model's input.
        mask: data type of the attention mask: `torch.bool`, or that of a mask added to the attention scores.
        vocabulary: number of tokens in the model's vocabulary.
    """

    def __init__(self, call: ModelCall, device: torch.device, mask: torch.dtype, vocabulary: int) -> None:
        self._call, self._device, self._mask, self._vocabulary = call, device, mask, vocabulary
        self._cached: Tokens = ()
        self._cache = DynamicCache()

    def score(
        self,
        documents: Sequence[Document],
        batch_size: int,
        dtype: torch.dtype | None,
        min_saving: int = MIN_SAVING,
        replies: Mapping[Tokens, ReplyRequest] | None = None,
    ) -> Iterator[tuple[Document, DocumentOutput]]:
        """Yield every document with its output.

        Args:
            documents: neighbours share their first tokens (`order_documents`).
            batch_size: largest number of documents in a pass; halved permanently when the device runs out of memory.
            dtype: data type of the log-probabilities; None: that of the logits.
            min_saving: shared tokens get a separate pass if that saves at least so many tokens.
            replies: greedy replies to generate along the way, by context.
        """
        start = 0
        while start < len(documents):
            count = next_batch_size(documents[start : start + batch_size], batch_size, MAX_LOGITS // self._vocabulary)
            batch, following = documents[start : start + count], documents[start + count : start + count + LOOKAHEAD]
            prefix = prefix_length(batch, following, self._cached, min_saving)
            try:
                outputs = self._run(batch, prefix, dtype, [(replies or {}).get(document.context) for document in batch])
            except Exception as error:
                if count == 1 or not should_reduce_batch_size(error):
                    raise
                batch_size = count // 2
                outputs = []
            if not outputs:  # outside the handler, which would keep the tensors of the failed pass alive
                self._clear_cache()
                continue
            yield from zip(batch, outputs, strict=True)
            start += count

    def _run(
        self, batch: Sequence[Document], prefix: int, dtype: torch.dtype | None, replies: Sequence[ReplyRequest | None]
    ) -> list[DocumentOutput]:
        self._cache_prefix(shared_tokens(batch)[:prefix])
        inputs = tree_batch(batch, prefix)
        capacity = max((reply.max_tokens for reply in replies if reply), default=0)
        cache: AppendableCache | PrefixCache | None = None
        if capacity:
            cache = AppendableCache(self._cache, prefix, capacity)
        elif prefix:
            cache = PrefixCache(self._cache, prefix)
        logits = self._call(
            input_ids=inputs.tokens.to(self._device),
            position_ids=inputs.positions.to(self._device),
            attention_mask=self._attention_mask(inputs.allowed),
            use_cache=cache is not None,
            logits_to_keep=inputs.nodes,
            **({} if cache is None else {"past_key_values": cache}),
        )
        node_logits = logits[:, -inputs.nodes :]  # a model without `logits_to_keep` returns all positions
        outputs = _document_outputs(batch, torch.log_softmax(node_logits, dim=-1, dtype=dtype))
        first_tokens = node_logits[:, 0].argmax(dim=-1)
        del logits, node_logits  # large
        if not isinstance(cache, AppendableCache):
            return outputs
        generated = self._generate(inputs, cache, first_tokens, replies)
        return [replace(output, reply=reply) for output, reply in zip(outputs, generated, strict=True)]

    def _generate(
        self,
        inputs: TreeBatch,
        cache: AppendableCache,
        first_tokens: torch.Tensor,
        replies: Sequence[ReplyRequest | None],
    ) -> list[Tokens | None]:
        """Replies to a batch that has gone through the model; None for documents without a reply request."""
        columns = inputs.tokens.shape[1]
        root = columns - inputs.nodes  # attends to the whole text of its document, and to no other node
        cache.advance(columns)
        attended, positions = inputs.allowed[:, 0, root], inputs.positions[:, [root]] + 1
        state = GenerationState(
            cache, attended.to(self._device), positions.to(self._device), first_tokens.to(self._device)
        )
        requested = {row: reply for row, reply in enumerate(replies) if reply}
        state.select_rows(list(requested))
        generated = generate_greedily(state, list(requested.values()), self._call, self._attention_mask)
        by_row = dict(zip(requested, generated, strict=True))
        return [by_row.get(row) for row in range(len(replies))]

    def _cache_prefix(self, tokens: Tokens) -> None:
        """Compute keys and values of the `tokens` that are not cached yet."""
        common = common_length(tokens, self._cached)
        if common == len(tokens):
            return
        self._cache.crop(common - len(self._cached))
        self._cached = self._cached[:common]
        new = torch.tensor([tokens[common:]], device=self._device)
        self._call(input_ids=new, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cached = tokens

    def _clear_cache(self) -> None:
        self._cached, self._cache = (), DynamicCache()
        gc.collect()
        clear_device_cache()

    def _attention_mask(self, allowed: torch.Tensor) -> torch.Tensor:
        return as_mask(allowed.to(self._device), self._mask)


@dataclass
class GenerationState:
    """A batch of B documents during greedy generation, after their prompts have gone through the model."""

    cache: AppendableCache
    attended: torch.Tensor
    """[B, columns] which columns of the cache belong to a document's text."""
    positions: torch.Tensor
    """[B, 1] position of the next token."""
    next_tokens: torch.Tensor
    """[B] the next token."""

    def select_rows(self, rows: Sequence[int]) -> None:
        """Keep only these rows of the batch."""
        if len(rows) < len(self.next_tokens):
            self.cache.select_rows(rows)
            indices = torch.tensor(rows, device=self.next_tokens.device)
            self.attended, self.positions, self.next_tokens = (
                tensor.index_select(0, indices) for tensor in (self.attended, self.positions, self.next_tokens)
            )


def generate_greedily(
    state: GenerationState,
    replies: Sequence[ReplyRequest],
    call: ModelCall,
    attention_mask: Callable[[torch.Tensor], torch.Tensor],
) -> list[Tokens]:
    """Append the likeliest token to each document until its own reply is complete.

    Args:
        state: modified in place.
        replies: one request per document.
        call: the model.
        attention_mask: builds the model's attention mask from [B, 1, columns, keys], whether a column attends to a key.
    """
    generated: list[list[int]] = [[] for _ in replies]
    rows = list(range(len(replies)))
    while rows:
        for row, token in zip(rows, state.next_tokens.tolist(), strict=True):
            generated[row].append(token)
        unfinished = [row for row in rows if not _is_finished(generated[row], replies[row])]
        if unfinished:
            state.select_rows([index for index, row in enumerate(rows) if row in set(unfinished)])
            _generate_token(state, call, attention_mask)
        rows = unfinished
    return [tuple(tokens) for tokens in generated]


def _is_finished(tokens: Sequence[int], reply: ReplyRequest) -> bool:
    return len(tokens) >= reply.max_tokens or reply.is_complete(tokens)


def _generate_token(
    state: GenerationState, call: ModelCall, attention_mask: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    state.attended = torch.cat([state.attended, state.attended.new_ones(len(state.attended), 1)], dim=-1)
    logits = call(
        input_ids=state.next_tokens[:, None],
        position_ids=state.positions,
        attention_mask=attention_mask(state.attended[:, None, None]),
        past_key_values=state.cache,
        use_cache=True,
        logits_to_keep=1,
    )
    state.cache.advance(1)
    state.positions = state.positions + 1
    state.next_tokens = logits[:, -1].argmax(dim=-1)


def _document_outputs(batch: Sequence[Document], logprobs: torch.Tensor) -> list[DocumentOutput]:
    """Pick the edges' log-probabilities from [B, nodes, vocabulary], with a single transfer from the device."""
    indices = [
        (row, column, token)
        for row, document in enumerate(batch)
        for column, edges in enumerate(document.trie.edges.values())
        for token in edges
    ]
    rows, columns, tokens = torch.tensor(indices, dtype=torch.long, device=logprobs.device).view(-1, 3).T
    values = iter(logprobs[rows, columns, tokens].tolist())
    best = logprobs.argmax(dim=-1, keepdim=True)
    top, likeliest = logprobs.gather(-1, best).squeeze(-1).tolist(), best.squeeze(-1).tolist()
    return [
        DocumentOutput(
            {
                node: NodeOutput(
                    EdgeLogprobs({token: next(values) for token in edges}, top[row][column]), likeliest[row][column]
                )
                for column, (node, edges) in enumerate(document.trie.edges.items())
            },
            logprobs.dtype,
        )
        for row, document in enumerate(batch)
    ]
