"""lm-eval's Hugging Face class with its private methods under public names, for classes that override them.

Assumed of `lm_eval.models.huggingface.HFLM` (0.4.12 to 0.4.13):

- `_loglikelihood_tokens(requests, disable_tqdm=, override_bs=)` scores all label requests, and the windows of
  `loglikelihood_rolling`, whose keys are None.
- `_create_model(**settings)` is called once, by `__init__`, where the model is given by name; it puts the transformers
  model, with its adapter, into `_model`, and so can load it anew.
- `_model_call(tokens)` gives the logits, [B, length, vocabulary], without gradients.
"""

from typing import Any, cast

import torch
from lm_eval.models.huggingface import HFLM

from fin_plugins.compat.lm_eval.models import TokenRequest


class HookedHF(HFLM):
    """lm-eval's `hf`: the same answers, through methods that a subclass may override."""

    _model: Any

    def score_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihoods (nats) of continuations in tokens, and whether each is greedy; here lm-eval's own."""
        theirs = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
        return cast("list[tuple[float, bool]]", theirs)

    def load_model(self, *arguments: Any, **settings: Any) -> None:
        """Load the model that the settings name, with its adapter, into `loaded_model`; here lm-eval's own."""
        super()._create_model(*arguments, **settings)

    @property
    def loaded_model(self) -> Any:
        """The transformers model, or PEFT's around it; not what distributed runs wrap it in."""
        return self._model

    @loaded_model.setter
    def loaded_model(self, model: Any) -> None:
        self._model = model

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [B, length, vocabulary] of texts of equal length, [B, length], as lm-eval computes them."""
        return cast("torch.Tensor", self._model_call(tokens))

    def _loglikelihood_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        return self.score_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)

    def _create_model(self, *arguments: Any, **settings: Any) -> None:
        self.load_model(*arguments, **settings)
