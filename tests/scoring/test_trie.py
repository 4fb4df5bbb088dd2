import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.scoring.documents import Document
from fin_plugins.scoring.trie import BestFirst, Edges, LabelTrie, Tokens
from fin_plugins.scoring.walk import Question, walk_all, walk_best_first

VOCABULARY = 5
labels = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5).map(tuple), min_size=1, max_size=12)


class Model:
    """A next-token distribution for every prompt, drawn from a seed; coarse, so that ties happen."""

    def __init__(self, seed: int, grain: int) -> None:
        self.seed, self.grain = seed, grain
        self.asked: list[Tokens] = []

    def logprobs(self, prompt: Tokens) -> list[float]:
        weights = [1 + hash((self.seed, *prompt, token)) % self.grain for token in range(VOCABULARY)]
        return [math.log(weight / sum(weights)) for weight in weights]

    def ask(self, questions: Sequence[Question]) -> list[Edges]:
        self.asked += [prompt for prompt, _ in questions]
        answers = [(self.logprobs(prompt), wanted) for prompt, wanted in questions]
        return [Edges({token: known[token] for token in wanted}, max(known)) for known, wanted in answers]

    def full(self, context: Tokens, continuation: Tokens) -> tuple[float, bool]:
        """One pass for this continuation alone, as lm-eval does it."""
        known = [self.logprobs(context + continuation[:depth]) for depth in range(len(continuation))]
        steps = list(zip(continuation, known, strict=True))
        return sum(at[token] for token, at in steps), all(at[token] >= max(at) for token, at in steps)


models = st.builds(Model, st.integers(0, 10**6), st.sampled_from([2, 3, 1000]))


def document(context: Tokens, continuations: Sequence[Tokens]) -> Document:
    return Document(context, tuple(range(len(continuations))), LabelTrie(continuations))


@given(models, st.lists(labels, min_size=1, max_size=4))
def test_all_nodes_give_lm_evals_own_sums_to_the_last_bit(model: Model, sets: list[list[Tokens]]) -> None:
    documents = [document((9, number), continuations) for number, continuations in enumerate(sets)]
    for scored, doc in zip(walk_all(documents, model.ask), documents, strict=True):
        expected = [model.full(doc.context, continuation) for continuation in doc.trie.continuations]
        assert [(score.loglikelihood, score.greedy) for score in scored] == expected
    assert len(model.asked) == len(set(model.asked)), "no position is computed twice"
    prefixes = {d.context + c[:depth] for d in documents for c in d.trie.continuations for depth in range(len(c))}
    assert set(model.asked) == prefixes


@given(models, st.lists(labels, min_size=1, max_size=4))
def test_best_first_decides_like_the_full_walk(model: Model, sets: list[list[Tokens]]) -> None:
    documents = [document((9, number), continuations) for number, continuations in enumerate(sets)]
    full = walk_all(documents, model.ask)
    nodes = len(model.asked)
    model.asked.clear()
    pruned = walk_best_first(documents, model.ask)
    assert len(model.asked) <= nodes
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


def test_best_first_leaves_hopeless_branches_alone() -> None:
    trie = LabelTrie([(0, 0), (1, 0), (2, 0)])
    walk = BestFirst(trie)
    assert walk.next_node() == ()
    walk.answer(Edges({0: -3.0, 1: -0.1, 2: -3.0}, -0.1))
    assert walk.next_node() == (1,)
    walk.answer(Edges({0: -0.2}, -0.2))
    assert walk.next_node() is None
    assert [score.greedy for score in walk.scores()] == [None, True, None]


def test_an_open_branch_that_equals_the_best_is_still_walked() -> None:
    walk = BestFirst(LabelTrie([(0, 0), (1,)]))
    walk.answer(Edges({0: -1.0, 1: -1.0}, -1.0))
    assert walk.next_node() == (0,), "the lower index could still draw level"


def test_a_label_may_begin_another_and_two_may_be_equal() -> None:
    trie = LabelTrie([(1,), (1, 2), (1,)])
    answers = {(): Edges({1: -0.5}, -0.5), (1,): Edges({2: -2.0}, -0.1)}
    assert [(s.loglikelihood, s.greedy) for s in trie.scores(answers)] == [(-0.5, True), (-2.5, False), (-0.5, True)]


def test_a_continuation_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        LabelTrie([(1,), ()])
