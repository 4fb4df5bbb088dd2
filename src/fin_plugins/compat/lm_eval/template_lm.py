"""lm-eval's `TemplateLM`, for a class that renders prompts and has no engine to answer them.

Assumed of lm-eval (0.4.12 to 0.4.13): `TemplateLM` is abstract in `_loglikelihood_tokens`, which all its scoring of
tokens goes through; `_encode_pair` uses `tok_encode` and nothing of an engine.
"""

from typing import Any

from lm_eval.api.model import TemplateLM


class TokenScoringLM(TemplateLM):
    """`TemplateLM` with its private method of scoring tokens under a public name."""

    def score_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihoods (nats) of continuations in tokens, and whether each is greedy; to be overridden."""
        raise NotImplementedError

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self.score_tokens(requests, disable_tqdm=disable_tqdm)
