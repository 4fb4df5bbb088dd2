"""Which answers are numbers."""

import math
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.finite import check_answers, finite_answers
from tests.scoring.tiny import instances

PAIRS = [("a", " x"), ("a", " y"), ("b", " x"), ("b", " y")]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", range(4))
def test_a_label_that_is_no_number(bad: float, at: int) -> None:
    answers = [(-1.0, True)] * 4
    answers[at] = (bad, False)
    with pytest.raises(FinError, match="base · task: the log-likelihoods of 1 of 2 documents"):
        check_answers("base", instances(PAIRS), answers)


def test_an_impossible_label_is_allowed_and_impossible_labels_alone_are_not() -> None:
    nothing = (-math.inf, False)
    check_answers("base", instances(PAIRS), [(-1.0, True), nothing, nothing, (-2.0, None)])
    with pytest.raises(FinError, match="1 of 2 documents"):
        check_answers("base", instances(PAIRS), [(-1.0, True), nothing, nothing, nothing])


def test_whole_texts_are_checked_too() -> None:
    texts = instances([("a",), ("b",)], "loglikelihood_rolling")
    check_answers("base", texts, [-1.0, -2.0])
    with pytest.raises(FinError, match="1 of 2 documents"):
        check_answers("base", texts, [-1.0, math.nan])


class _Hook:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def add_partial(self, _kind: str, request: Any, answer: Any) -> None:
        self.kept.append((request, answer))


class _Model:
    """A model class that caches as lm-eval's do."""

    pretrained, peft = "the-base", "folder/of/adapter"

    def __init__(self, value: float) -> None:
        self.cache_hook: Any = _Hook()
        self.value = value

    @finite_answers
    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        answers = [(-1.0, True), *[(self.value, False)] * (len(requests) - 1)]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers


def test_what_is_no_number_stays_out_of_lm_evals_cache() -> None:
    model = _Model(math.nan)
    hook = model.cache_hook
    with pytest.raises(FinError, match="the-base with adapter folder/of/adapter · task"):
        model.loglikelihood(instances(PAIRS))
    assert hook.kept == [(PAIRS[0], (-1.0, True))] and model.cache_hook is hook
    assert len(_Model(-2.0).loglikelihood(instances(PAIRS))) == 4
