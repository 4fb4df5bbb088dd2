"""A short text and a few labels behind it, asked of the running engine: what its adapters are checked with."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fin_plugins.common.errors import FinError
from fin_plugins.compat import vllm
from fin_plugins.compat.lm_eval.models import TokenRequest, encode_pair, score_tokens
from fin_plugins.scoring.adapters import Adapter

TEXT = (
    "Northfield Instruments said on Tuesday that operating profit rose to 48.2 million euros in the third quarter, "
    "from 41.7 million a year earlier, as demand for its sensors recovered. Net sales fell 3 percent. The board kept "
    "its outlook for the year and proposed a dividend of 0.35 euros a share. What does this mean for the share price?\n"
    "label:"
)
# The second label has several tokens: those behind the first are asked for through the cached prompt.
LABELS = (" up", " a little lower")


class Engine(Protocol):
    """What the checks need of `fin_vllm` and `fin_hf`, beside what all of lm-eval's models have."""

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Answer later requests by base and adapter, or by the base."""
        ...

    def label_logprobs(self, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities of each prompt's tokens from the second on, each prompt in one whole pass."""
        ...

    def tok_encode(self, string: str) -> list[int]:
        """Tokens of a prompt."""
        ...


@dataclass(frozen=True)
class Answers:
    """What the engine says to the probe, in nats.

    Attributes:
        tokens: the text, as the engine's tokenizer gives it.
        text: log-probability of each of them from the second on.
        whole: log-likelihood of each label behind it, each computed in one whole pass.
        scored: the same as the model class scores labels: shared prefill, prefix cache.
    """

    tokens: list[int]
    text: list[float]
    whole: list[float]
    scored: list[float]


def probe_tokens(lm: Any) -> list[int]:
    """Tokens of the probe's text; `lm` is anything with lm-eval's `tok_encode`, no engine is needed."""
    return list(lm.tok_encode(TEXT))


def ask(lm: Engine, adapter: Adapter | None) -> Answers:
    """The engine's answers to the probe with the adapter, or with the base alone; the adapter stays in use.

    Raises:
        FinError: an answer is not a finite number.
    """
    lm.use_adapter(adapter)
    return ask_attached(lm, adapter)


def ask_attached(lm: Engine, adapter: Adapter | None) -> Answers:
    """The engine's answers to the probe as it stands, where `adapter` is in use.

    Raises:
        FinError: an answer is not a finite number.
    """
    text = probe_tokens(lm)
    labels = [encode_pair(lm, TEXT, label)[1] for label in LABELS]
    passes = lm.label_logprobs([text + label for label in labels])
    requests: list[TokenRequest] = [((TEXT, label), text, tokens) for label, tokens in zip(LABELS, labels, strict=True)]
    with _exact(lm):
        scored = score_tokens(lm, requests, silent=True)
    answers = Answers(
        tokens=text,
        text=passes[0][: len(text) - 1],
        whole=[math.fsum(logprobs[len(text) - 1 :]) for logprobs in passes],
        scored=[score for score, _ in scored],
    )
    if not all(map(math.isfinite, (*answers.text, *answers.whole, *answers.scored))):
        raise FinError(
            f"{f'adapter {adapter.name}' if adapter else 'the base model'}: the engine's answers to the probe are not "
            f"finite numbers, in {engine_dtype(lm)}: pass dtype=bfloat16 or dtype=float32 in --model_args"
        )
    return answers


@contextmanager
def _exact(lm: Any) -> Iterator[None]:
    """Exact scores: a pruned label would have a bound instead."""
    prune = getattr(lm, "prune", False)
    if prune:
        lm.prune = False
    try:
        yield
    finally:
        if prune:
            lm.prune = True


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Root mean square difference, in nats."""
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one))


def engine_dtype(lm: Any) -> str:
    """The type the engine computes in: float32, float16, bfloat16; and that, the coarsest, where it cannot be told."""
    return known_dtype(lm) or "bfloat16"


def known_dtype(lm: Any) -> str | None:
    """The type the engine computes in, float32, float16 or bfloat16; None where the engine does not show it."""
    model = getattr(lm, "model", None)
    dtype = vllm.dtype_of(model) if vllm.is_llm(model) else getattr(model, "dtype", None)
    name = str(dtype).removeprefix("torch.")
    return name if name in ("float32", "float16", "bfloat16") else None
