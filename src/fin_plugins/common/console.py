"""Plain lines on standard error while work goes on, which stay readable in a job's log."""

import sys

import click


def say(line: str) -> None:
    """Write one line to standard error, after the name of the command that runs, as `fin eval` or `fin merge`."""
    context = click.get_current_context(silent=True)
    print(f"{context.command_path if context else 'fin'}: {line}", file=sys.stderr, flush=True)
