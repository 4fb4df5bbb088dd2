"""One running engine for all candidates: a candidate is a change of numbers in it, or an adapter of some megabytes."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fin_plugins.common.logs import silence_loggers
from fin_plugins.evaluation.engine import model_class
from fin_plugins.merging.search.candidates import Stack
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.scoring.adapters import Adapter, engine_limits
from fin_plugins.training.model import device
from fin_plugins.training.validation import ValidationRows, likeliest

_LIKELIEST = 20  # tokens that vLLM gives log-probabilities of without being asked for more (max_logprobs)

Factors = Mapping[str, float]


class Engine(ABC):
    """Answers for the base and any weighted sum of the experts."""

    def __init__(self, lm: Any) -> None:
        self.lm = lm
        self._used: dict[str, float] | None = None

    def use(self, factors: Factors) -> None:
        """Answer every later request by the base with this sum; zeros are the base alone."""
        if self._used != dict(factors):
            self._change(factors)
            self._used = dict(factors)

    @abstractmethod
    def _change(self, factors: Factors) -> None:
        """Make it so."""

    @abstractmethod
    def remember_base(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Keep what the model in use says next after these prompts, to compare others with it."""

    @abstractmethod
    def divergences(self) -> list[float]:
        """At each prompt the Kullback-Leibler divergence, in nats, of the model in use from the one remembered."""

    def answers(self, rows: ValidationRows) -> list[int]:
        """The likeliest label of every row; of several, the first."""
        return likeliest(self.lm, rows.requests)

    def stop(self) -> None:
        """Shut the engine down, where it has a way to."""
        if hasattr(self.lm, "shutdown"):
            self.lm.shutdown()


class HFEngine(Engine):
    """transformers and PEFT: the experts' factors are loaded once, and their columns scaled in place."""

    def __init__(self, lm: Any, stack: Stack, adapter: Adapter) -> None:
        super().__init__(lm)
        self._stack = stack
        lm.use_adapter(adapter)
        self._ups = dict(_ups(lm.model, stack.modules))
        self._whole = {module: up.detach().clone() for module, up in self._ups.items()}
        self._prompts: list[tuple[int, ...]] = []
        self._base: list[torch.Tensor] = []

    def _change(self, factors: Factors) -> None:
        with torch.no_grad():
            for module, up in self._ups.items():
                up.copy_(self._whole[module] * self._stack.columns(module, factors).to(up))

    def remember_base(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """The whole distribution at the end of each prompt."""
        self._prompts = list(prompts)
        self._base = [self._next(prompt) for prompt in prompts]

    def divergences(self) -> list[float]:
        """Exact, over the whole vocabulary."""
        found = []
        for prompt, base in zip(self._prompts, self._base, strict=True):
            found.append(float((base.exp() * (base - self._next(prompt))).sum().clamp(min=0)))
        return found

    def _next(self, prompt: tuple[int, ...]) -> torch.Tensor:
        logits: torch.Tensor = self.lm.logits(torch.tensor([prompt], device=self.lm.device))[0, -1]
        return logits.double().log_softmax(dim=-1)


class VLLMEngine(Engine):
    """vLLM: every candidate is an adapter in a folder in memory, gone when the next one is asked for."""

    def __init__(self, lm: Any, stack: Stack, scratch: Path) -> None:
        super().__init__(lm)
        self._stack, self._scratch, self._number = stack, scratch, 0
        self._prompts: list[list[int]] = []
        self._base: list[dict[int, float]] = []

    def _change(self, factors: Factors) -> None:
        """Write the sum; the engine reads it at the first request."""
        shutil.rmtree(self._scratch / str(self._number), ignore_errors=True)
        self._number += 1
        self.lm.use_adapter(self._stack.write(self._scratch / str(self._number), factors))

    def remember_base(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """The likeliest tokens at the end of each prompt."""
        self._prompts = [list(prompt) for prompt in prompts]
        self._base = self._ask([{"logprobs": _LIKELIEST} for _ in prompts])

    def divergences(self) -> list[float]:
        """Over the base's likeliest tokens and all others as one: at most the exact divergence, and near to it."""
        found = self._ask([{"logprob_token_ids": list(base)} for base in self._base])
        return [_coarse(base, one) for base, one in zip(self._base, found, strict=True)]

    def _ask(self, settings: Sequence[dict[str, Any]]) -> list[dict[int, float]]:
        from vllm import SamplingParams

        given = [SamplingParams(temperature=0, max_tokens=1, detokenize=False, **one) for one in settings]
        outputs = self.lm.generate_tokens(self._prompts, given)
        return [{token: at.logprob for token, at in one.outputs[0].logprobs[0].items()} for one in outputs]


def _coarse(base: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The divergence of two distributions of which the same few probabilities are known, the rest taken as one."""
    ours = torch.tensor([base[token] for token in base], dtype=torch.float64).exp()
    theirs = torch.tensor([other[token] for token in base], dtype=torch.float64).exp()
    ours, theirs = (torch.cat([p, (1 - p.sum(dim=0, keepdim=True)).clamp(min=1e-12)]) for p in (ours, theirs))
    return float((ours * (ours.log() - theirs.clamp(min=1e-30).log())).sum().clamp(min=0))


def start_engine(config: SearchConfig, stack: Stack, scratch: Path) -> Engine:
    """Start the engine that the file names, with room for the experts side by side.

    Raises:
        FinError: it cannot be started with them.
    """
    whole = stack.write(scratch / "whole", dict.fromkeys(stack.experts, 1.0))
    assert whole is not None
    try:
        limits = engine_limits([whole]) if config.model == "fin_vllm" else {}
        arguments = {**limits, **config.model_args, "pretrained": str(stack.base)}
        batch = {"batch_size": config.batch_size, "device": config.device or device()}
        with silence_loggers("lm_eval.models.huggingface"):  # it warns that a loaded model has no use for `device`
            lm = model_class(config.model).create_from_arg_obj(arguments, batch)
        return VLLMEngine(lm, stack, scratch) if config.model == "fin_vllm" else HFEngine(lm, stack, whole)
    finally:
        shutil.rmtree(whole.path)


def _ups(model: Any, modules: Sequence[str]) -> Any:
    """PEFT's `lora_B` of each module, or `lora_embedding_B`; rank stands in the columns of both."""
    from peft.tuners.lora import LoraLayer

    named = {name.removeprefix("base_model.model."): layer for name, layer in model.named_modules()}
    for module in modules:
        layer = named[module]
        assert isinstance(layer, LoraLayer)
        lines = [one.weight for one in layer.lora_B.values()]
        (up,) = lines or list(layer.lora_embedding_B.parameters())
        yield module, up
