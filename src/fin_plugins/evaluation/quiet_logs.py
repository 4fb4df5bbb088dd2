"""What other libraries print during `fin eval`: only what a user can act on, unless `--verbose` is given."""

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_ENVIRONMENT = {
    "LMEVAL_LOG_LEVEL": "WARNING",
    "TQDM_DELAY": "5",  # seconds before a bar shows; vLLM fails where bars are disabled (TQDM_DISABLE)
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""Settings that each library documents. They must be set before the libraries are imported."""

_NOISE = (
    "Custom kwargs can be passed to `--metadata`",  # once per task with rows of its own
    "appears to be an instruct or chat variant",  # by the model's name; `fin eval` looks at the tokenizer instead
    "--limit SHOULD ONLY BE USED FOR TESTING",  # the result file and the board say which rows were scored
)


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


@contextmanager
def quiet_git() -> Iterator[None]:
    """Keep git's "fatal: not a git repository" off the terminal while lm-eval looks up the commit it runs in.

    lm-eval calls git and handles its failure, but lets it write to standard error.
    """
    from lm_eval import evaluator
    from lm_eval.loggers.utils import get_commit_from_path

    original = evaluator.get_git_commit_hash
    evaluator.get_git_commit_hash = lambda: original() if _in_repository() else get_commit_from_path(Path.cwd())
    try:
        yield
    finally:
        evaluator.get_git_commit_hash = original


def _in_repository() -> bool:
    try:
        return subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode == 0
    except OSError:  # git is not installed
        return False


def _no_noise(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return not any(text in message for text in _NOISE)
