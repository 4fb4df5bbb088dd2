"""lm-eval's vLLM class with its private methods under public names, for classes that override them.

Assumed of `lm_eval.models.vllm_causallms.VLLM` (0.4.12 to 0.4.13):

- `_loglikelihood_tokens(requests, disable_tqdm=)` scores all label requests, and the windows of
  `loglikelihood_rolling`, whose keys are None.
- `_model_generate(requests=, generate=, sampling_params=)` sends tokenised prompts to the engine, with the adapter in
  `lora_request`, and returns vLLM's outputs in order; with `generate=False` they have `prompt_logprobs`.
"""

from collections.abc import Sequence
from typing import Any, cast

from lm_eval.models.vllm_causallms import VLLM

from fin_plugins.compat.lm_eval.models import TokenRequest


class HookedVLLM(VLLM):
    """lm-eval's `vllm` with overridable public methods; answers are unchanged."""

    def score_tokens(self, requests: list[TokenRequest], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score tokenised continuations as lm-eval does: log-likelihood (nats) and whether it is greedy."""
        theirs = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)
        return cast("list[tuple[float, bool]]", theirs)

    def generate_tokens(self, prompts: Sequence[list[int]], settings: Sequence[Any]) -> list[Any]:
        """Outputs of vLLM for tokenised prompts with one `SamplingParams` each."""
        return list(self._model_generate(requests=prompts, generate=True, sampling_params=settings))

    def pass_tokens(self, prompts: list[list[int]]) -> list[Any]:
        """Outputs of vLLM for tokenised prompts, with log-probabilities of the prompt tokens (`prompt_logprobs`)."""
        return list(self._model_generate(requests=prompts, generate=False))

    def _loglikelihood_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        return self.score_tokens(requests, disable_tqdm=disable_tqdm)
