"""lm-eval's command line, run in this process.

Assumed of lm-eval (0.4.12 to 0.4.13):

- `__main__.cli_evaluate()` runs what `sys.argv` says.
- `_cli.HarnessCLI()` has an argparse parser in `_parser` and the subcommands' parsers in `_subparsers.choices`; its
  `parse_args()` reads `sys.argv` and puts `run` in front where no subcommand is named.
- An unknown task is a `ValueError` whose text begins "Tasks not found: NAMES"; an unknown function of a task file is an
  `ImportError` or an `AttributeError` whose text has "(from YAML in FOLDER)".
"""

import argparse
import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass


class BadArguments(Exception):
    """lm-eval's parser refuses the arguments; the text is its own, in one line."""


@dataclass(frozen=True)
class TasksNotFound:
    """What lm-eval says where it does not know tasks.

    Attributes:
        message: the first line of its message.
        names: those that it does not know.
    """

    message: str
    names: tuple[str, ...]


def run(arguments: Sequence[str]) -> None:
    """Run lm-eval with these arguments, its subcommand first; `sys.argv` is theirs from then on."""
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What lm-eval's parser makes of these arguments; `sys.argv` is theirs from then on."""
    from lm_eval._cli import HarnessCLI

    sys.argv = ["lm_eval", *arguments]
    namespace: argparse.Namespace = HarnessCLI().parse_args()
    return namespace


def unknown_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments that lm-eval's parser does not know.

    Args:
        arguments: as lm-eval gets them, its subcommand first.

    Raises:
        BadArguments: one that it knows is wrong, or one that it needs is missing.
    """
    from lm_eval._cli import HarnessCLI

    cli, stderr = HarnessCLI(), io.StringIO()
    try:
        with redirect_stderr(stderr):
            _, unknown = cli._parser.parse_known_args(list(arguments))
    except SystemExit as exit_:
        if exit_.code == 0:
            raise
        raise BadArguments(stderr.getvalue().strip().rpartition("error: ")[2]) from exit_
    return list(unknown)


def options_of(subcommand: str) -> list[str]:
    """The options, short and long, of one of lm-eval's subcommands."""
    from lm_eval._cli import HarnessCLI

    return list(HarnessCLI()._subparsers.choices[subcommand]._option_string_actions)


def tasks_not_found(error: Exception) -> TasksNotFound | None:
    """What an error says of tasks that lm-eval does not know; None where it is about something else."""
    if not (isinstance(error, ValueError) and str(error).startswith("Tasks not found")):
        return None
    first = str(error).splitlines()[0]
    return TasksNotFound(first, tuple(re.findall(r"[\w.-]+", first.partition(":")[2])))


def is_unknown_function(error: Exception) -> bool:
    """Whether an error is about a function that a task file names and that is not there."""
    return isinstance(error, ImportError | AttributeError) and "(from YAML in" in str(error)
