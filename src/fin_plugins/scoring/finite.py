"""Answers that are no numbers are an error: a model with NaN in it would be scored as any other."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_MEND = "look at the weights and at dtype in --model_args (float16 overflows in models trained in bfloat16)"


def finite_answers(method: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A method of a model class that answers lm-eval's requests by log-likelihoods, with every answer checked.

    What is no number does not get into lm-eval's own cache (`--use_cache`) either.
    """

    @functools.wraps(method)
    def checked(self: Any, requests: "list[Instance]", *arguments: Any, **settings: Any) -> list[Any]:
        hook = self.cache_hook
        self.cache_hook = _NumbersOnly(hook)
        try:
            answers = method(self, requests, *arguments, **settings)
        finally:
            self.cache_hook = hook
        check_answers(model_in_use(self), requests, answers)
        self.gave_numbers = model_in_use(self) if answers else None
        return answers

    return checked


def check_answers(model: str, requests: "Sequence[Instance]", answers: Sequence[Any]) -> None:
    """Check that every log-likelihood is a number, and that of each document some label is possible at all.

    A single label may be impossible: minus infinity is a legitimate log-likelihood, of a token that is masked out.

    Args:
        model: for the message.
        requests: lm-eval's requests.
        answers: one a request: a log-likelihood in nats, alone or first of a tuple.

    Raises:
        FinError: names model, task, and how many of its log-likelihoods are NaN or infinite.
    """
    documents: dict[tuple[str, Any], list[float]] = {}
    for request, answer in zip(requests, answers, strict=True):
        number = float(answer[0] if isinstance(answer, tuple | list) else answer)
        documents.setdefault((str(request.task_name), request.doc_id), []).append(number)
    bad: dict[str, int] = {}
    for (task, _), numbers in documents.items():
        if not all(number < math.inf for number in numbers) or max(numbers) == -math.inf:
            bad[task] = bad.get(task, 0) + 1
    for task, count in bad.items():
        asked = sum(name == task for name, _ in documents)
        raise FinError(
            f"{model} · {task}: the log-likelihoods of {count} of {asked} documents are not finite numbers: {_MEND}"
        )


def check_before_generation(lm: Any, requests: "Sequence[Instance]", prompt: Sequence[int]) -> None:
    """Check that a model which is about to write replies gives numbers for one of its prompts.

    A reply does not show what it was made from: of NaN it is the first token of the vocabulary. A model that has given
    numbers before is not asked again.

    Args:
        lm: the model class's object.
        requests: what it is asked, for the message.
        prompt: tokens of a prompt that fits.

    Raises:
        FinError: it does not.
    """
    model = model_in_use(lm)
    if len(prompt) < 2 or getattr(lm, "gave_numbers", None) == model:
        return
    if not _all_numbers(lm.label_logprobs([list(prompt)])[0]):
        raise FinError(f"{model} · {requests[0].task_name}: log-probabilities are not finite numbers: {_MEND}")
    lm.gave_numbers = model


def check_metrics(model: str, results: dict[str, dict[str, Any]]) -> None:
    """Check that what was computed from the answers is a number.

    Args:
        model: for the message.
        results: lm-eval's `results`: of each task its metrics by name and filter.

    Raises:
        FinError: names model, task and metric.
    """
    for task, metrics in results.items():
        for name, value in metrics.items():
            if isinstance(value, float) and not math.isfinite(value) and "_stderr" not in name:
                raise FinError(f"{model} · {task}: the metric {name.partition(',')[0]} is {value}: nothing was written")


class _NumbersOnly:
    """Lm-eval's hook to its cache, for answers that are numbers."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        number = answer[0] if isinstance(answer, tuple | list) else answer
        if not isinstance(number, float | int) or number < math.inf:
            self._hook.add_partial(kind, request, answer)


def model_in_use(lm: Any) -> str:
    """The base's name or folder, with the adapter's where one answers."""
    lora = getattr(lm, "lora_request", None)
    adapter = getattr(lm, "peft", None) or (lora.lora_path if lora else None)
    arguments = getattr(lm, "model_args", None)
    base = getattr(lm, "pretrained", None) or (arguments.get("model") if isinstance(arguments, dict) else None)
    return f"{base} with adapter {adapter}" if adapter else str(base)


def _all_numbers(values: Iterable[float]) -> bool:
    return all(value < math.inf for value in values)
