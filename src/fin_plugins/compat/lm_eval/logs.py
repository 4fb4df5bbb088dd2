"""Output of lm-eval that is noise to users of `fin eval`: log messages, and git's errors.

Assumed of lm-eval (0.4.12 to 0.4.13): the texts below occur in its log messages; `lm_eval.evaluator` looks up the
commit through its global name `get_git_commit_hash`; `loggers.utils.get_commit_from_path(folder)` reads it from files.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOISE = (
    "Custom kwargs can be passed to `--metadata`",  # once per task with custom rows
    "appears to be an instruct or chat variant",  # guessed from the model's name; `fin eval` checks the tokenizer
    "--limit SHOULD ONLY BE USED FOR TESTING",  # result file and board state which rows were scored
)


@contextmanager
def quiet_git() -> Iterator[None]:
    """Suppress git's "fatal: not a git repository" while lm-eval looks up the current commit.

    lm-eval handles git's failure but lets git write to standard error.
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
