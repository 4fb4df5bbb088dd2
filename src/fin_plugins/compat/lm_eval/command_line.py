"""lm-eval's command line, run in this process.

Assumed of lm-eval (0.4.12 to 0.4.13):

- `__main__.cli_evaluate()` runs the command in `sys.argv`.
- `_cli.HarnessCLI()` has an argparse parser in `_parser` and the subcommands' parsers in `_subparsers.choices`; its
  `parse_args()` reads `sys.argv` and inserts `run` if no subcommand is named.
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
    """lm-eval's parser rejects the arguments; the message is its own, on one line."""


@dataclass(frozen=True)
class TasksNotFound:
    """lm-eval's error for unknown tasks.

    Attributes:
        message: the first line of its message.
        names: the unknown names.
    """

    message: str
    names: tuple[str, ...]


def run(arguments: Sequence[str]) -> None:
    """Run lm-eval with these arguments, subcommand first. Replaces `sys.argv`."""
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse arguments with lm-eval's parser. Replaces `sys.argv`."""
    from lm_eval._cli import HarnessCLI

    sys.argv = ["lm_eval", *arguments]
    namespace: argparse.Namespace = HarnessCLI().parse_args()
    return namespace


def unknown_arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments unknown to lm-eval's parser.

    Args:
        arguments: arguments of `lm_eval`, subcommand first.

    Raises:
        BadArguments: a known argument has a bad value, or a required one is missing.
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
    """Short and long options of a subcommand of lm-eval."""
    from lm_eval._cli import HarnessCLI

    return list(HarnessCLI()._subparsers.choices[subcommand]._option_string_actions)


def tasks_not_found(error: Exception) -> TasksNotFound | None:
    """Details of an error if it is about unknown tasks, else None."""
    if not (isinstance(error, ValueError) and str(error).startswith("Tasks not found")):
        return None
    first = str(error).splitlines()[0]
    return TasksNotFound(first, tuple(re.findall(r"[\w.-]+", first.partition(":")[2])))


def is_unknown_function(error: Exception) -> bool:
    """Whether an error is about a missing function named in a task file."""
    return isinstance(error, ImportError | AttributeError) and "(from YAML in" in str(error)
