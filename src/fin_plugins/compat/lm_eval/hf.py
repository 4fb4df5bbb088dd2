"""lm-eval's Hugging Face class with its private methods under public names, for classes that override them.

Assumed of `lm_eval.models.huggingface.HFLM` (0.4.12 to 0.4.13):

- `_loglikelihood_tokens(requests, disable_tqdm=, override_bs=)` scores all label requests, and the windows of
  `loglikelihood_rolling`, whose keys are None.
- `_create_model(**settings)` is called once by `__init__` if the model is given by name; it stores the transformers
  model, with its adapter, in `_model`, so that calling it again reloads the model.
- `_model_call(tokens)` returns logits, [B, length, vocabulary], without gradients.
"""

from typing import Any, cast

import torch
from lm_eval.models.huggingface import HFLM

from fin_plugins.compat.lm_eval.models import TokenRequest


class HookedHF(HFLM):
    """lm-eval's `hf` with overridable public methods; answers are unchanged."""

    _model: Any

    def score_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Score tokenised continuations as lm-eval does: log-likelihood (nats) and whether it is greedy."""
        theirs = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
        return cast("list[tuple[float, bool]]", theirs)

    def load_model(self, *arguments: Any, **settings: Any) -> None:
        """Load the model named by the settings, with its adapter, into `loaded_model`, as lm-eval does."""
        super()._create_model(*arguments, **settings)

    @property
    def loaded_model(self) -> Any:
        """The transformers model or the PEFT model around it, without a wrapper for distributed runs."""
        return self._model

    @loaded_model.setter
    def loaded_model(self, model: Any) -> None:
        self._model = model

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [B, length, vocabulary] of tokens [B, length], as lm-eval computes them."""
        return cast("torch.Tensor", self._model_call(tokens))

    def _loglikelihood_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        return self.score_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)

    def _create_model(self, *arguments: Any, **settings: Any) -> None:
        self.load_model(*arguments, **settings)
