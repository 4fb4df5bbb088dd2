"""The two walks through the tries of many documents at once; the engine is a function that answers questions."""

from collections.abc import Callable, Sequence

from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.trie import BestFirst, Edges, Score, Tokens

Question = tuple[Tokens, Tokens]
"""A prompt, and the tokens whose log-probability behind it is wanted."""

Ask = Callable[[Sequence[Question]], list[Edges]]
"""Answers questions, in their order."""


def walk_all(documents: Sequence[Document], ask: Ask) -> list[list[Score]]:
    """Exact scores: all nodes of all documents in one call, a document's root ahead of its inner nodes."""
    edges = iter(ask([(d.context + node, wanted) for d in documents for node, wanted in d.trie.edges.items()]))
    return [d.trie.scores({node: next(edges) for node in d.trie.edges}) for d in documents]


def walk_best_first(documents: Sequence[Document], ask: Ask) -> list[list[Score]]:
    """The same decisions from fewer nodes: each round asks one node of every document that is still open."""
    walks = [BestFirst(document.trie) for document in documents]
    undecided = list(zip(documents, walks, strict=True))
    while undecided:
        reached = [(document, walk, walk.next_node()) for document, walk in undecided]
        undecided = [(document, walk) for document, walk, node in reached if node is not None]
        questions = [(d.context + node, d.trie.edges[node]) for d, _, node in reached if node is not None]
        for (_, walk), edges in zip(undecided, ask(questions) if questions else [], strict=True):
            walk.answer(edges)
    return [walk.scores() for walk in walks]
