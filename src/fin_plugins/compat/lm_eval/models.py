"""Private methods that all model classes of lm-eval share.

Assumed of lm-eval (0.4.12 to 0.4.13): every `TemplateLM` has `_encode_pair(context, continuation)`, which returns
the tokens of both, moving trailing white space of the context to the continuation; and
`_loglikelihood_tokens(requests, disable_tqdm=)`, which takes (key, context tokens, continuation tokens) and returns
(log-likelihood in nats, is greedy).
"""

from typing import Any

TokenRequest = tuple[Any, list[int], list[int]]
"""Key of lm-eval's cache (or None), tokens of the context, tokens of the continuation."""


def encode_pair(lm: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Tokens of a context and its continuation, as lm-eval's `TemplateLM` splits them."""
    both: tuple[list[int], list[int]] = lm._encode_pair(context, continuation)
    return both


def score_tokens(lm: Any, requests: list[TokenRequest], *, silent: bool = False) -> list[tuple[float, Any]]:
    """Log-likelihoods (nats) of tokenised continuations, and whether greedy decoding would produce each.

    Args:
        lm: an lm-eval model.
        requests: continuations to score.
        silent: hide the progress bar.
    """
    answers: list[tuple[float, Any]] = lm._loglikelihood_tokens(requests, disable_tqdm=silent)
    return answers
