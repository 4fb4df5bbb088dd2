"""One running engine for all candidates: a candidate is a change of factors in place, or an adapter in memory."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fin_plugins.common.logs import silence_loggers
from fin_plugins.evaluation.model_engine import model_class
from fin_plugins.merging.search.search_config import SearchConfig
from fin_plugins.merging.search.stacked_adapters import StackedAdapters
from fin_plugins.scoring.adapters import Adapter, vllm_lora_arguments
from fin_plugins.training.trained_model import device
from fin_plugins.training.validation_scores import ValidationRows, likeliest_labels

_MAX_LOGPROBS = 20  # tokens whose log-probabilities vLLM returns by default

Coefficients = Mapping[str, float]
"""Coefficient of each expert's change in a weighted sum."""


class SearchEngine(ABC):
    """Answers for the base plus any weighted sum of the experts."""

    def __init__(self, lm: Any) -> None:
        """Take the loaded model."""
        self.lm = lm
        self._used: dict[str, float] | None = None

    def use(self, coefficients: Coefficients) -> None:
        """Answer later requests with this sum; all zeros are the base alone."""
        if self._used != dict(coefficients):
            self._apply(coefficients)
            self._used = dict(coefficients)

    @abstractmethod
    def _apply(self, coefficients: Coefficients) -> None:
        """Change the model to this sum."""

    @abstractmethod
    def record_base(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Record the next-token distributions of the model in use after these prompts, for later comparison."""

    @abstractmethod
    def divergences(self) -> list[float]:
        """The Kullback-Leibler divergence of the model in use from the recorded one after each prompt, in nats."""

    def answers(self, rows: ValidationRows) -> list[int]:
        """The most likely label of each row, the first of equals."""
        return likeliest_labels(self.lm, rows.requests)

    def stop(self) -> None:
        """Shut the engine down if it supports that."""
        if hasattr(self.lm, "shutdown"):
            self.lm.shutdown()


class HFSearchEngine(SearchEngine):
    """transformers and PEFT: the experts' factors are loaded once, and their columns scaled in place."""

    def __init__(self, lm: Any, adapters: StackedAdapters, full_sum: Adapter) -> None:
        """Take the loaded model, the experts, and their sum with coefficients of 1."""
        super().__init__(lm)
        self._adapters = adapters
        lm.use_adapter(full_sum)
        self._ups = dict(_up_factors(lm.model, adapters.modules))
        self._unscaled = {module: up.detach().clone() for module, up in self._ups.items()}
        self._prompts: list[tuple[int, ...]] = []
        self._base_log_probs: list[torch.Tensor] = []

    def _apply(self, coefficients: Coefficients) -> None:
        with torch.no_grad():
            for module, up in self._ups.items():
                up.copy_(self._unscaled[module] * self._adapters.column_scales(module, coefficients).to(up))

    def record_base(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Record the entire distribution after each prompt."""
        self._prompts = list(prompts)
        self._base_log_probs = [self._next_log_probs(prompt) for prompt in prompts]

    def divergences(self) -> list[float]:
        """Exact divergences, over the entire vocabulary."""
        divergences = []
        for prompt, base in zip(self._prompts, self._base_log_probs, strict=True):
            divergence = (base.exp() * (base - self._next_log_probs(prompt))).sum().clamp(min=0)
            divergences.append(float(divergence))
        return divergences

    def _next_log_probs(self, prompt: tuple[int, ...]) -> torch.Tensor:
        logits: torch.Tensor = self.lm.logits(torch.tensor([prompt], device=self.lm.device))[0, -1]
        return logits.double().log_softmax(dim=-1)


class VLLMSearchEngine(SearchEngine):
    """vLLM: every candidate is an adapter in a folder in memory, removed when the next one is written."""

    def __init__(self, lm: Any, adapters: StackedAdapters, scratch: Path) -> None:
        """Take the loaded model, the experts and a folder for candidates."""
        super().__init__(lm)
        self._adapters, self._scratch, self._number = adapters, scratch, 0
        self._prompts: list[list[int]] = []
        self._base_log_probs: list[dict[int, float]] = []

    def _apply(self, coefficients: Coefficients) -> None:
        """Write the sum; the engine reads it with the first request."""
        shutil.rmtree(self._scratch / str(self._number), ignore_errors=True)
        self._number += 1
        self.lm.use_adapter(self._adapters.write(self._scratch / str(self._number), coefficients))

    def record_base(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Record the most likely tokens after each prompt."""
        self._prompts = [list(prompt) for prompt in prompts]
        self._base_log_probs = self._next_log_probs([{"logprobs": _MAX_LOGPROBS} for _ in prompts])

    def divergences(self) -> list[float]:
        """Lower bounds close to the divergences: over the base's most likely tokens, all others counted as one."""
        settings = [{"logprob_token_ids": list(base)} for base in self._base_log_probs]
        log_probs = self._next_log_probs(settings)
        return [top_token_divergence(base, other) for base, other in zip(self._base_log_probs, log_probs, strict=True)]

    def _next_log_probs(self, settings: Sequence[dict[str, Any]]) -> list[dict[int, float]]:
        from vllm import SamplingParams

        parameters = [SamplingParams(temperature=0, max_tokens=1, detokenize=False, **extra) for extra in settings]
        outputs = self.lm.generate_tokens(self._prompts, parameters)
        return [{token: entry.logprob for token, entry in it.outputs[0].logprobs[0].items()} for it in outputs]


def top_token_divergence(base: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The divergence of two distributions over a few tokens, all other tokens counted as one; a lower bound.

    Args:
        base: log-probabilities of the tokens under the base.
        other: log-probabilities of at least the same tokens under the other model.
    """
    p = torch.tensor([base[token] for token in base], dtype=torch.float64).exp()
    q = torch.tensor([other[token] for token in base], dtype=torch.float64).exp()
    p, q = (torch.cat([it, (1 - it.sum(dim=0, keepdim=True)).clamp(min=1e-12)]) for it in (p, q))
    return float((p * (p.log() - q.clamp(min=1e-30).log())).sum().clamp(min=0))


def start_engine(config: SearchConfig, adapters: StackedAdapters, scratch: Path) -> SearchEngine:
    """Start the engine of a search, with room for the experts side by side; `scratch` is for candidates.

    Raises:
        FinError: the engine cannot be started with them.
    """
    full_sum = adapters.write(scratch / "sum", dict.fromkeys(adapters.experts, 1.0))
    assert full_sum is not None
    try:
        limits = vllm_lora_arguments([full_sum]) if config.model == "fin_vllm" else {}
        arguments = {**limits, **config.model_args, "pretrained": str(adapters.base)}
        batch = {"batch_size": config.batch_size, "device": config.device or device()}
        with silence_loggers("lm_eval.models.huggingface"):  # it warns that a loaded model ignores `device`
            lm = model_class(config.model).create_from_arg_obj(arguments, batch)
        if config.model == "fin_vllm":
            return VLLMSearchEngine(lm, adapters, scratch)
        return HFSearchEngine(lm, adapters, full_sum)
    finally:
        shutil.rmtree(full_sum.path)


def _up_factors(model: Any, modules: Sequence[str]) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Each module with PEFT's `lora_B` or `lora_embedding_B`, whose columns are the rank."""
    from peft.tuners.lora import LoraLayer

    by_name = {name.removeprefix("base_model.model."): layer for name, layer in model.named_modules()}
    for module in modules:
        layer = by_name[module]
        assert isinstance(layer, LoraLayer)
        weights = [linear.weight for linear in layer.lora_B.values()]
        (up,) = weights or list(layer.lora_embedding_B.parameters())
        yield module, up
