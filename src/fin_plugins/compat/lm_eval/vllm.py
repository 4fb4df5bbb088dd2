"""lm-eval's vLLM class with its private methods under public names, for classes that override them.

Assumed of `lm_eval.models.vllm_causallms.VLLM` (0.4.12 to 0.4.13):

- `_loglikelihood_tokens(requests, disable_tqdm=)` scores all label requests, and the windows of
  `loglikelihood_rolling`, whose keys are None.
- `_model_generate(requests=, generate=, sampling_params=)` sends prompts in tokens to the engine, with the adapter in
  `lora_request`, and gives vLLM's outputs in the prompts' order; with `generate=False` they have `prompt_logprobs`.
"""

from collections.abc import Sequence
from typing import Any, cast

from lm_eval.models.vllm_causallms import VLLM

from fin_plugins.compat.lm_eval.models import TokenRequest


class HookedVLLM(VLLM):
    """lm-eval's `vllm`: the same answers, through methods that a subclass may override."""

    def score_tokens(self, requests: list[TokenRequest], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihoods (nats) of continuations in tokens, and whether each is greedy; here lm-eval's own."""
        theirs = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm)
        return cast("list[tuple[float, bool]]", theirs)

    def generate_tokens(self, prompts: Sequence[list[int]], settings: Sequence[Any]) -> list[Any]:
        """VLLM's outputs for prompts in tokens, one `SamplingParams` each."""
        return list(self._model_generate(requests=prompts, generate=True, sampling_params=settings))

    def pass_tokens(self, prompts: list[list[int]]) -> list[Any]:
        """VLLM's outputs for prompts in tokens, with the log-probabilities of their own tokens (`prompt_logprobs`)."""
        return list(self._model_generate(requests=prompts, generate=False))

    def _loglikelihood_tokens(
        self, requests: list[TokenRequest], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        return self.score_tokens(requests, disable_tqdm=disable_tqdm)
