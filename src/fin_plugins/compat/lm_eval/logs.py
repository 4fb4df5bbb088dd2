"""What lm-eval logs, and has git print, that says nothing to a user of `fin eval`.

Assumed of lm-eval (0.4.12 to 0.4.13): the texts below begin or stand in its log messages; `lm_eval.evaluator` looks up
the commit by calling its own name `get_git_commit_hash`, and `loggers.utils.get_commit_from_path(folder)` reads it from
files.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOISE = (
    "Custom kwargs can be passed to `--metadata`",  # once per task with rows of its own
    "appears to be an instruct or chat variant",  # by the model's name; `fin eval` looks at the tokenizer instead
    "--limit SHOULD ONLY BE USED FOR TESTING",  # the result file and the board say which rows were scored
)


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
