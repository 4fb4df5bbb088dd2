"""`fin doctor`."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fin_plugins.doctor import Check

_ASCII_MARKS = {"ok": "ok  ", "warn": "!   ", "bad": "BAD "}
_MARKS = {"ok": "✓", "warn": "!", "bad": "✗"}
_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command("doctor")
@click.option("--full", is_flag=True, help="Read lm-eval's own task files too (about 10 s); finds clashing names.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_context
def command(context: click.Context, full: bool, as_json: bool) -> None:
    """Show how lm-eval finds the tasks, and what is wrong with an installation.

    The exit status is 1 if something is broken (✗), and 0 otherwise; remarks (!) need no action.

    \b
    Examples:
      fin doctor
      fin doctor --full --json | jq '.checks[] | select(.status != "ok")'
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.doctor import run_checks

    checks = run_checks(full)
    worst = max((check.status for check in checks), key=list(_MARKS).index)
    if as_json:
        click.echo(json.dumps({"status": worst, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        _print_checks(checks)
    context.exit(int(worst == "bad"))


def _print_checks(checks: "list[Check]") -> None:
    marks = _MARKS if _can_print("".join(_MARKS.values())) else _ASCII_MARKS
    for check in checks:
        click.echo(f"{click.style(marks[check.status], fg=_COLOURS[check.status])} {check.name:<16} {check.found}")
        if check.advice:
            click.echo(f"{'':{len(marks['ok']) + 18}}to do: {check.advice}")
    broken = sum(check.status == "bad" for check in checks)
    click.echo("\nNothing is broken." if not broken else f"\nBroken: {broken}. Fix the first one first.")


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
