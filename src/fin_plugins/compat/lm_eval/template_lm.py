"""lm-eval's `TemplateLM`, for classes that only render prompts and have no engine.

Assumed of lm-eval (0.4.12 to 0.4.13): `TemplateLM` scores all tokens through the abstract `_loglikelihood_tokens`;
`_encode_pair` uses `tok_encode` and no engine.
"""

from typing import Any

from lm_eval.api.model import TemplateLM


class TokenScoringLM(TemplateLM):
    """`TemplateLM` with a public name for its private scoring method."""

    def score_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihoods (nats) of tokenised continuations, and whether each is greedy; to be overridden."""
        raise NotImplementedError

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return self.score_tokens(requests, disable_tqdm=disable_tqdm)
