"""Which scores count as finite."""

import math
from typing import Any

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.finite_scores import check_loglikelihoods, check_metrics, require_finite
from tests.scoring.factories import instances

PAIRS = [("a", " x"), ("a", " y"), ("b", " x"), ("b", " y")]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", range(4))
def test_nan_or_infinity_is_an_error(bad: float, at: int) -> None:
    answers = [(-1.0, True)] * 4
    answers[at] = (bad, False)
    with pytest.raises(FinError, match="base · task: the log-likelihoods of 1 of 2 documents"):
        check_loglikelihoods("base", instances(PAIRS), answers)


def test_one_impossible_label_is_allowed_but_not_all() -> None:
    impossible = (-math.inf, False)
    check_loglikelihoods("base", instances(PAIRS), [(-1.0, True), impossible, impossible, (-2.0, None)])
    with pytest.raises(FinError, match="1 of 2 documents"):
        check_loglikelihoods("base", instances(PAIRS), [(-1.0, True), impossible, impossible, impossible])


def test_rolling_requests_are_checked_too() -> None:
    texts = instances([("a",), ("b",)], "loglikelihood_rolling")
    check_loglikelihoods("base", texts, [-1.0, -2.0])
    with pytest.raises(FinError, match="1 of 2 documents"):
        check_loglikelihoods("base", texts, [-1.0, math.nan])


class _CacheHook:
    def __init__(self) -> None:
        self.answers: list[Any] = []

    def add_partial(self, _kind: str, request: Any, answer: Any) -> None:
        self.answers.append((request, answer))


class _Model:
    """A model class that caches as lm-eval's do."""

    pretrained, peft = "the-base", "folder/of/adapter"

    def __init__(self, value: float) -> None:
        self.cache_hook: Any = _CacheHook()
        self.value = value

    @require_finite
    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        answers = [(-1.0, True), *[(self.value, False)] * (len(requests) - 1)]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers


def test_nan_stays_out_of_lm_evals_cache() -> None:
    model = _Model(math.nan)
    hook = model.cache_hook
    with pytest.raises(FinError, match="the-base with adapter folder/of/adapter · task"):
        model.loglikelihood(instances(PAIRS))
    assert hook.answers == [(PAIRS[0], (-1.0, True))] and model.cache_hook is hook
    assert len(_Model(-2.0).loglikelihood(instances(PAIRS))) == 4


def test_only_a_standard_error_may_be_nan() -> None:
    check_metrics("base", {"t": {"acc,none": 0.5, "acc_stderr,none": math.nan, "alias": "t", "n": 3}})  # type: ignore[dict-item]
    with pytest.raises(FinError, match=r"base · t: .*acc.*inf"):
        check_metrics("base", {"t": {"acc,none": math.inf}})
