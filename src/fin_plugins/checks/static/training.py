"""Training files: what their own reader finds, with codes."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.common.validation import MISSING, UNKNOWN
from fin_plugins.common.yaml_file import Problem, Problems


def training(file: TaskFile, *, rows: bool = False) -> Iterator[Finding]:
    """Everything that `fin train` would stop at before it loads a model.

    Args:
        file: the training file.
        rows: look at the rows of its tasks, too.
    """
    from fin_plugins.training.files.read import read_config

    try:
        read_config(str(file.path), depth="rows" if rows else "tasks")
    except Problems as error:
        for problem in error.problems:
            if problem.what is None:  # what is wrong with the YAML itself is known by now
                place = (file.name, problem.line, problem.column, problem.key)
                yield Finding(*place, _code(problem), problem.message)


def _code(problem: Problem) -> str:
    if problem.message.startswith(UNKNOWN):
        return "R01"
    return "R02" if problem.message.startswith(MISSING) else "R03"
