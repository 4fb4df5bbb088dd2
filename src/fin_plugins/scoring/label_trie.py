"""Label tries, and two searches through them that find every label's score from as few model positions as possible.

Labels such as ` hawkish` and ` dovish` differ in their first token, so nearly all of their score comes from a single
position of a single prompt. A *node* is a proper prefix of at least one continuation (the root is the empty prefix);
its *edges* are the tokens that may follow. Each node is one position to compute. A continuation's log-likelihood is
the sum over its edges, added in token order: exactly lm-eval's sum.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

Tokens = tuple[int, ...]

NodeQuery = tuple[Tokens, Tokens]
"""A prompt, and the next tokens whose log-probabilities are requested."""


@dataclass(frozen=True)
class EdgeLogprobs:
    """The model's output at one node."""

    logprobs: Mapping[int, float]
    """Log-probability in nats of each requested token."""
    top: float
    """Log-probability in nats of the likeliest token in the whole vocabulary."""


NodeQueryFunction = Callable[[Sequence[NodeQuery]], list[EdgeLogprobs]]
"""Answers node queries, in order."""


@dataclass(frozen=True)
class ContinuationScore:
    """A continuation's summed log-likelihood in nats."""

    loglikelihood: float
    """Exact, or an upper bound from a search that stopped early (if `greedy` is None)."""
    greedy: bool | None
    """Whether greedy decoding would write this continuation; None if the search did not reach its end."""


class LabelTrie:
    """The nodes of a set of continuations.

    Args:
        continuations: token sequences, none empty. One may be a prefix of another, and two may be equal.

    Raises:
        ValueError: a continuation has no tokens.
    """

    def __init__(self, continuations: Sequence[Tokens]) -> None:
        if not all(continuations):
            raise ValueError("a continuation without tokens cannot be scored")
        self.continuations = tuple(continuations)
        edges: dict[Tokens, dict[int, None]] = {(): {}}
        for continuation in self.continuations:
            for depth, token in enumerate(continuation):
                edges.setdefault(continuation[:depth], {})[token] = None
        self.edges: dict[Tokens, Tokens] = {node: tuple(edges[node]) for node in sorted(edges)}
        """Edge tokens by node; the root first, each node after its parent."""

    def scores(self, node_logprobs: Mapping[Tokens, EdgeLogprobs]) -> list[ContinuationScore]:
        """Score each continuation from the output at the nodes."""
        return [_continuation_score(continuation, node_logprobs) for continuation in self.continuations]


@lru_cache(maxsize=4096)
def label_trie(continuations: tuple[Tokens, ...]) -> LabelTrie:
    """The trie of `continuations`, cached because most documents of a task share one."""
    return LabelTrie(continuations)


@dataclass(frozen=True)
class Document:
    """Requests with the same context tokens."""

    context: Tokens
    requests: tuple[int, ...]
    """Indices into the list of requests, parallel to `trie.continuations`."""
    trie: LabelTrie


def score_all_nodes(documents: Sequence[Document], query: NodeQueryFunction) -> list[list[ContinuationScore]]:
    """Exact scores: queries all nodes of all documents in one call, each document's root before its inner nodes."""
    answers = iter(query([(d.context + node, edges) for d in documents for node, edges in d.trie.edges.items()]))
    return [d.trie.scores({node: next(answers) for node in d.trie.edges}) for d in documents]


def score_best_first(documents: Sequence[Document], query: NodeQueryFunction) -> list[list[ContinuationScore]]:
    """The same decisions from fewer nodes: each round queries one node of every undecided document."""
    searches = [BestFirstSearch(document.trie) for document in documents]
    undecided = list(zip(documents, searches, strict=True))
    while undecided:
        frontier = [(document, search, search.next_node()) for document, search in undecided]
        undecided = [(document, search) for document, search, node in frontier if node is not None]
        queries = [(d.context + node, d.trie.edges[node]) for d, _, node in frontier if node is not None]
        for (_, search), logprobs in zip(undecided, query(queries) if queries else [], strict=True):
            search.expand(logprobs)
    return [search.scores() for search in searches]


class BestFirstSearch:
    """A search through a trie that stops once the decision is certain.

    A continuation's score only decreases with depth, so the sum up to a node bounds everything below it. The search
    expands the open node with the highest bound (among equals, the one that leads to the lowest index) and ends when
    the best complete continuation is strictly above all open bounds. The likeliest continuation, and the first among
    equals, are therefore those of a full search.
    """

    def __init__(self, trie: LabelTrie) -> None:
        self._trie = trie
        self._node_logprobs: dict[Tokens, EdgeLogprobs] = {}
        self._best = float("-inf")
        self._open: list[tuple[float, int, Tokens, float]] = []
        self._first_index = _first_index_by_prefix(trie.continuations)
        self._complete = frozenset(trie.continuations)
        self._push((), 0.0)

    def next_node(self) -> Tokens | None:
        """The node to query next; None once the decision is certain."""
        if not self._open or -self._open[0][0] < self._best:
            return None
        return self._open[0][2]

    def expand(self, logprobs: EdgeLogprobs) -> None:
        """Expand the node that `next_node` returned with the model's output at it."""
        _, _, node, total = heapq.heappop(self._open)
        self._node_logprobs[node] = logprobs
        for token in self._trie.edges[node]:
            child, child_total = (*node, token), total + logprobs.logprobs[token]
            if child in self._complete:
                self._best = max(self._best, child_total)
            if child in self._trie.edges:
                self._push(child, child_total)

    def scores(self) -> list[ContinuationScore]:
        """Scores of all continuations; an upper bound and `greedy=None` where the search stopped early."""
        return self._trie.scores(self._node_logprobs)

    def _push(self, node: Tokens, total: float) -> None:
        heapq.heappush(self._open, (-total, self._first_index[node], node, total))


def _continuation_score(continuation: Tokens, node_logprobs: Mapping[Tokens, EdgeLogprobs]) -> ContinuationScore:
    total, greedy = 0.0, True
    for depth, token in enumerate(continuation):
        node = node_logprobs.get(continuation[:depth])
        if node is None:
            return ContinuationScore(total, None)
        total += node.logprobs[token]
        greedy = greedy and node.logprobs[token] >= node.top
    return ContinuationScore(total, greedy)


def _first_index_by_prefix(continuations: Sequence[Tokens]) -> dict[Tokens, int]:
    first: dict[Tokens, int] = {}
    for index, continuation in enumerate(continuations):
        for depth in range(len(continuation) + 1):
            first.setdefault(continuation[:depth], index)
    return first
