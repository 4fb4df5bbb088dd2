"""`--copy [TO]` of the verbs whose FILE may be one that comes with the package."""

from collections.abc import Callable
from pathlib import Path

import click


def copy_out(copy: Callable[[str, str], Path], verb: str, file: str | None, to: str) -> None:
    """Write a shipped file out, and say what to type next.

    Args:
        copy: of the files of that kind, `BundledConfigs.copy`.
        verb: the command, as `fin run`.
        file: the file's name; None where it was typed behind the flag.
        to: what was typed behind the flag.

    Raises:
        FinError: there is no such file, or it cannot be written.
    """
    if file is None:  # `--copy NAME`: what stands behind a flag is its value to click
        file, to = to, ""
    target = copy(file, to)
    click.echo(f"{target}: edit it, then run `{verb} {target}`")
