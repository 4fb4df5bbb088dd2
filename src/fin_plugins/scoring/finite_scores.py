"""Checks that scores are finite: a model with NaN in its weights would otherwise be scored like any other."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_REMEDY = "check the weights, and dtype in --model_args (float16 overflows in models trained in bfloat16)"


def require_finite(method: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Decorate a model class's log-likelihood method so that all its answers are checked.

    A NaN or infinity does not enter lm-eval's own cache (`--use_cache`) either.
    """

    @functools.wraps(method)
    def checked(self: Any, requests: "list[Instance]", *arguments: Any, **settings: Any) -> list[Any]:
        hook = self.cache_hook
        self.cache_hook = _FiniteCacheHook(hook)
        try:
            answers = method(self, requests, *arguments, **settings)
        finally:
            self.cache_hook = hook
        check_loglikelihoods(active_model_name(self), requests, answers)
        self.finite_model = active_model_name(self) if answers else None
        return answers

    return checked


def check_loglikelihoods(model: str, requests: "Sequence[Instance]", answers: Sequence[Any]) -> None:
    """Check that every log-likelihood is a number, and that each document has at least one possible label.

    A single label may have minus infinity: its token may be masked out.

    Args:
        model: for the message.
        requests: lm-eval's requests.
        answers: one per request: a log-likelihood in nats, alone or as first element of a tuple.

    Raises:
        FinError: names the model, the task and the number of documents with NaN or infinity.
    """
    documents: dict[tuple[str, Any], list[float]] = {}
    for request, answer in zip(requests, answers, strict=True):
        number = float(answer[0] if isinstance(answer, tuple | list) else answer)
        documents.setdefault((str(request.task_name), request.doc_id), []).append(number)
    invalid: dict[str, int] = {}
    for (task, _), numbers in documents.items():
        if not all(number < math.inf for number in numbers) or max(numbers) == -math.inf:
            invalid[task] = invalid.get(task, 0) + 1
    for task, count in invalid.items():
        total = sum(name == task for name, _ in documents)
        raise FinError(
            f"{model} · {task}: the log-likelihoods of {count} of {total} documents are not finite numbers: {_REMEDY}"
        )


def check_finite_before_generation(lm: Any, requests: "Sequence[Instance]", prompt: Sequence[int]) -> None:
    """Check that a model about to generate gives finite log-probabilities for one of its prompts.

    Generated text does not show NaN: it is then the first token of the vocabulary. A model that has given finite
    numbers before is not checked again.

    Args:
        lm: the model object.
        requests: its requests, for the message.
        prompt: tokens of a prompt that fits the context.

    Raises:
        FinError: a log-probability is NaN or infinite.
    """
    model = active_model_name(lm)
    if len(prompt) < 2 or getattr(lm, "finite_model", None) == model:
        return
    if not all(logprob < math.inf for logprob in lm.label_logprobs([list(prompt)])[0]):
        raise FinError(f"{model} · {requests[0].task_name}: log-probabilities are not finite numbers: {_REMEDY}")
    lm.finite_model = model


def check_metrics(model: str, results: dict[str, dict[str, Any]]) -> None:
    """Check that computed metrics are finite; standard errors may be NaN.

    Args:
        model: for the message.
        results: lm-eval's `results`: metrics by task, name and filter.

    Raises:
        FinError: names model, task and metric.
    """
    for task, metrics in results.items():
        for name, value in metrics.items():
            if isinstance(value, float) and not math.isfinite(value) and "_stderr" not in name:
                raise FinError(f"{model} · {task}: the metric {name.partition(',')[0]} is {value}: nothing was written")


def active_model_name(lm: Any) -> str:
    """Name or folder of the base, with the adapter if one is active."""
    lora = getattr(lm, "lora_request", None)
    adapter = getattr(lm, "peft", None) or (lora.lora_path if lora else None)
    arguments = getattr(lm, "model_args", None)
    base = getattr(lm, "pretrained", None) or (arguments.get("model") if isinstance(arguments, dict) else None)
    return f"{base} with adapter {adapter}" if adapter else str(base)


class _FiniteCacheHook:
    """lm-eval's cache hook, restricted to answers that are numbers."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        number = answer[0] if isinstance(answer, tuple | list) else answer
        if not isinstance(number, float | int) or number < math.inf:
            self._hook.add_partial(kind, request, answer)
