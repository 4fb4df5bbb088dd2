"""Label tries, and the exact and the best-first search through them."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.scoring.label_trie import (
    BestFirstSearch,
    Document,
    EdgeLogprobs,
    LabelTrie,
    NodeQuery,
    Tokens,
    score_all_nodes,
    score_best_first,
)

VOCABULARY = 5
labels = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5).map(tuple), min_size=1, max_size=12)


class Model:
    """A next-token distribution for every prompt, from a seed; coarse, so that ties occur."""

    def __init__(self, seed: int, grain: int) -> None:
        self.seed, self.grain = seed, grain
        self.prompts: list[Tokens] = []

    def logprobs(self, prompt: Tokens) -> list[float]:
        weights = [1 + hash((self.seed, *prompt, token)) % self.grain for token in range(VOCABULARY)]
        return [math.log(weight / sum(weights)) for weight in weights]

    def query(self, queries: Sequence[NodeQuery]) -> list[EdgeLogprobs]:
        self.prompts += [prompt for prompt, _ in queries]
        answers = [(self.logprobs(prompt), edges) for prompt, edges in queries]
        return [EdgeLogprobs({token: known[token] for token in edges}, max(known)) for known, edges in answers]

    def full(self, context: Tokens, continuation: Tokens) -> tuple[float, bool]:
        """One pass for this continuation alone, as lm-eval does."""
        known = [self.logprobs(context + continuation[:depth]) for depth in range(len(continuation))]
        steps = list(zip(continuation, known, strict=True))
        return sum(at[token] for token, at in steps), all(at[token] >= max(at) for token, at in steps)


models = st.builds(Model, st.integers(0, 10**6), st.sampled_from([2, 3, 1000]))


def document(context: Tokens, continuations: Sequence[Tokens]) -> Document:
    return Document(context, tuple(range(len(continuations))), LabelTrie(continuations))


@given(models, st.lists(labels, min_size=1, max_size=4))
def test_scores_of_all_nodes_equal_lm_evals_sums_exactly(model: Model, sets: list[list[Tokens]]) -> None:
    documents = [document((9, number), continuations) for number, continuations in enumerate(sets)]
    for scored, doc in zip(score_all_nodes(documents, model.query), documents, strict=True):
        expected = [model.full(doc.context, continuation) for continuation in doc.trie.continuations]
        assert [(score.loglikelihood, score.greedy) for score in scored] == expected
    assert len(model.prompts) == len(set(model.prompts)), "no position is computed twice"
    prefixes = {d.context + c[:depth] for d in documents for c in d.trie.continuations for depth in range(len(c))}
    assert set(model.prompts) == prefixes


@given(models, st.lists(labels, min_size=1, max_size=4))
def test_best_first_decides_like_the_exact_search(model: Model, sets: list[list[Tokens]]) -> None:
    documents = [document((9, number), continuations) for number, continuations in enumerate(sets)]
    full = score_all_nodes(documents, model.query)
    nodes = len(model.prompts)
    model.prompts.clear()
    pruned = score_best_first(documents, model.query)
    assert len(model.prompts) <= nodes
    for exact, scored in zip(full, pruned, strict=True):
        likelihoods = [score.loglikelihood for score in scored]
        best = max(score.loglikelihood for score in exact)
        first = [score.loglikelihood for score in exact].index(best)
        assert likelihoods.index(max(likelihoods)) == first, "same decision, of equals the first"
        assert scored[first] == exact[first], "the winner's score is exact"
        for truth, score in zip(exact, scored, strict=True):
            if score.greedy is None:
                assert truth.loglikelihood <= score.loglikelihood < best, "marked: a bound, strictly beaten"
            else:
                assert score == truth


def test_best_first_skips_hopeless_branches() -> None:
    trie = LabelTrie([(0, 0), (1, 0), (2, 0)])
    search = BestFirstSearch(trie)
    assert search.next_node() == ()
    search.expand(EdgeLogprobs({0: -3.0, 1: -0.1, 2: -3.0}, -0.1))
    assert search.next_node() == (1,)
    search.expand(EdgeLogprobs({0: -0.2}, -0.2))
    assert search.next_node() is None
    assert [score.greedy for score in search.scores()] == [None, True, None]


def test_an_open_branch_equal_to_the_best_is_still_expanded() -> None:
    search = BestFirstSearch(LabelTrie([(0, 0), (1,)]))
    search.expand(EdgeLogprobs({0: -1.0, 1: -1.0}, -1.0))
    assert search.next_node() == (0,), "the lower index may still equal it"


def test_a_label_may_be_a_prefix_or_a_duplicate_of_another() -> None:
    trie = LabelTrie([(1,), (1, 2), (1,)])
    answers = {(): EdgeLogprobs({1: -0.5}, -0.5), (1,): EdgeLogprobs({2: -2.0}, -0.1)}
    assert [(s.loglikelihood, s.greedy) for s in trie.scores(answers)] == [(-0.5, True), (-2.5, False), (-0.5, True)]


def test_a_continuation_without_tokens_is_rejected() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        LabelTrie([(1,), ()])
