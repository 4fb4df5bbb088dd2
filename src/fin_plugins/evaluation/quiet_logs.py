"""What other libraries print during `fin eval`: only what a user can act on, unless `--verbose` is given."""

import logging
import os

from fin_plugins.compat.lm_eval.logs import NOISE

QUIET_ENVIRONMENT = {
    "LMEVAL_LOG_LEVEL": "WARNING",
    "TQDM_DELAY": "5",  # seconds before a bar shows; vLLM fails where bars are disabled (TQDM_DISABLE)
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Settings that each library documents. They must be set before the libraries are imported."""


def silence_libraries() -> None:
    """Make other libraries quiet in this process and its children; a variable that the user has set stays as it is.

    Call it before lm-eval, tqdm, transformers or vLLM is imported. Errors and warnings are still shown, but for
    lm-eval's that repeat for every task or model and ask for nothing.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from lm_eval.utils import setup_logging

    setup_logging()
    for handler in logging.getLogger("lm_eval").handlers:
        if _no_noise not in handler.filters:
            handler.addFilter(_no_noise)


def _no_noise(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(text in message for text in NOISE)
