"""Private methods of lm-eval's model classes, called on an object of any of them.

Assumed of lm-eval (0.4.12 to 0.4.13): every `TemplateLM` has `_encode_pair(context, continuation)`, which gives the
tokens of both, white space at the end of the context counted as the continuation's; and
`_loglikelihood_tokens(requests, disable_tqdm=)`, which takes (key, context tokens, continuation tokens) and gives
(log-likelihood in nats, is greedy).
"""

from typing import Any

TokenRequest = tuple[Any, list[int], list[int]]
"""A key for lm-eval's cache (None: none), the context's tokens, and the continuation's."""


def encode_pair(lm: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Tokens of a context and of its continuation, as lm-eval's `TemplateLM` makes them."""
    both: tuple[list[int], list[int]] = lm._encode_pair(context, continuation)
    return both


def score_tokens(lm: Any, requests: list[TokenRequest], *, silent: bool = False) -> list[tuple[float, Any]]:
    """Log-likelihoods (nats) of continuations in tokens, and whether each is what greedy decoding would write.

    Args:
        lm: an lm-eval model.
        requests: what to score.
        silent: show no progress.
    """
    answers: list[tuple[float, Any]] = lm._loglikelihood_tokens(requests, disable_tqdm=silent)
    return answers
