"""Plain lines on standard error, readable in a job's log."""

import sys

import click


def say(line: str) -> None:
    """Write one line to standard error, prefixed with the running command, for example `fin eval`."""
    context = click.get_current_context(silent=True)
    print(f"{context.command_path if context else 'fin'}: {line}", file=sys.stderr, flush=True)
