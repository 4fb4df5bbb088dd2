"""Limits other libraries' log output in `fin eval` to what a user can act on, unless `--verbose` is given."""

import logging
import os

from fin_plugins.compat.lm_eval.logs import NOISE

QUIET_ENVIRONMENT = {
    "LMEVAL_LOG_LEVEL": "WARNING",
    "TQDM_DELAY": "5",  # seconds before a bar shows; vLLM fails if bars are disabled (TQDM_DISABLE)
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Documented settings of each library; they must be set before the library is imported."""


def silence_libraries() -> None:
    """Silence other libraries in this process and its children; variables that the user has set are kept.

    Call this before lm-eval, tqdm, transformers or vLLM is imported. Errors and warnings still show, except lm-eval's
    warnings that repeat for every task or model and need no action.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from lm_eval.utils import setup_logging

    setup_logging()
    for handler in logging.getLogger("lm_eval").handlers:
        if _is_relevant not in handler.filters:
            handler.addFilter(_is_relevant)


def _is_relevant(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(text in message for text in NOISE)
