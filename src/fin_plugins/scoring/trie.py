"""The trie of a label set's tokens: which positions of a model have to be asked to score every label exactly.

Labels such as ` hawkish` and ` dovish` part at their first token, so nearly all of their score comes from one position
of one prompt. A *node* is a proper prefix of at least one continuation (the root is the empty prefix); its *edges* are
the tokens that may follow. Every node is one position to compute; a continuation's log-likelihood is the sum of its
edges, in the order of its tokens: the same sum, added up in the same order, as lm-eval's own.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Edges:
    """What a model says at one node."""

    logprobs: Mapping[int, float]
    """Log-probability in nats of every token asked for."""
    top: float
    """Log-probability in nats of the likeliest token of the whole vocabulary."""


@dataclass(frozen=True)
class Score:
    """A continuation's summed log-likelihood in nats."""

    loglikelihood: float
    """Exact; where `greedy` is None it is an upper bound, from a walk that stopped early."""
    greedy: bool | None
    """Whether greedy decoding would write this continuation; None: not looked at to its end."""


class LabelTrie:
    """The nodes of a set of continuations.

    Args:
        continuations: Token sequences, none empty. One may be a prefix of another, and two may be equal.

    Raises:
        ValueError: where a continuation has no tokens.
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
        """Node to its edge tokens; the root first, every node behind its parent."""

    def scores(self, answers: Mapping[Tokens, Edges]) -> list[Score]:
        """The score of every continuation, from the answers of all nodes."""
        return [self._score(continuation, answers) for continuation in self.continuations]

    @staticmethod
    def _score(continuation: Tokens, answers: Mapping[Tokens, Edges]) -> Score:
        total, greedy = 0.0, True
        for depth, token in enumerate(continuation):
            edges = answers.get(continuation[:depth])
            if edges is None:
                return Score(total, None)
            total += edges.logprobs[token]
            greedy = greedy and edges.logprobs[token] >= edges.top
        return Score(total, greedy)


@lru_cache(maxsize=4096)
def label_trie(continuations: tuple[Tokens, ...]) -> LabelTrie:
    """The trie of `continuations`; the documents of a task mostly share one."""
    return LabelTrie(continuations)


class BestFirst:
    """A walk through a trie that stops as soon as the decision is certain.

    A continuation's score only falls as the walk goes on, so the sum up to a node bounds everything below it. The walk
    goes on at the open node of the highest bound (of equals, the one that leads to the lowest index) and ends when the
    best finished continuation is strictly above all open bounds: the likeliest continuation, and which of equals comes
    first, are those of the full walk.
    """

    def __init__(self, trie: LabelTrie) -> None:
        self._trie = trie
        self._answers: dict[Tokens, Edges] = {}
        self._best = float("-inf")
        self._open: list[tuple[float, int, Tokens, float]] = []
        self._first = _lowest_index(trie.continuations)
        self._finished = frozenset(trie.continuations)
        self._push((), 0.0)

    def next_node(self) -> Tokens | None:
        """The node to ask next; None when the decision is certain."""
        if not self._open or -self._open[0][0] < self._best:
            return None
        return self._open[0][2]

    def answer(self, edges: Edges) -> None:
        """Take the model's answer for the node that `next_node` named."""
        _, _, node, total = heapq.heappop(self._open)
        self._answers[node] = edges
        for token in self._trie.edges[node]:
            child, below = (*node, token), total + edges.logprobs[token]
            if child in self._finished:
                self._best = max(self._best, below)
            if child in self._trie.edges:
                self._push(child, below)

    def scores(self) -> list[Score]:
        """Scores of all continuations; where the walk stopped above the end, the bound and `greedy=None`."""
        return self._trie.scores(self._answers)

    def _push(self, node: Tokens, total: float) -> None:
        heapq.heappush(self._open, (-total, self._first[node], node, total))


def _lowest_index(continuations: Sequence[Tokens]) -> dict[Tokens, int]:
    lowest: dict[Tokens, int] = {}
    for index, continuation in enumerate(continuations):
        for depth in range(len(continuation) + 1):
            lowest.setdefault(continuation[:depth], index)
    return lowest
