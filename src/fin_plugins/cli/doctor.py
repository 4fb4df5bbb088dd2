"""`fin doctor`. Run as a module, this file is its proof: it asks lm-eval's own task index for our tasks."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fin_plugins.doctor import Check

_PLAIN = {"ok": "ok  ", "warn": "!   ", "bad": "BAD "}
_MARKS = {"ok": "✓", "warn": "!", "bad": "✗"}
_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command("doctor")
@click.option(
    "--full", is_flag=True, help="Let lm-eval read its own task files too (some 10 s); tells clashes of names."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_context
def command(context: click.Context, full: bool, as_json: bool) -> None:
    """Say how lm-eval sees the tasks, and what is wrong with an installation.

    The exit status is 1 where something is broken (✗), and 0 otherwise; a remark (!) is worth reading, no more.

    \b
    Examples:
      fin doctor
      fin doctor --full --json | jq '.checks[] | select(.status != "ok")'
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.doctor import examine

    checks = examine(full)
    worst = max((check.status for check in checks), key=list(_MARKS).index)
    if as_json:
        click.echo(json.dumps({"status": worst, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        _show(checks)
    context.exit(int(worst == "bad"))


def _show(checks: "list[Check]") -> None:
    marks = _MARKS if _can_print("".join(_MARKS.values())) else _PLAIN
    for check in checks:
        click.echo(f"{click.style(marks[check.status], fg=_COLOURS[check.status])} {check.name:<16} {check.found}")
        if check.advice:
            click.echo(f"{'':{len(marks['ok']) + 18}}to do: {check.advice}")
    broken = sum(check.status == "bad" for check in checks)
    click.echo("\nNothing is broken." if not broken else f"\nBroken: {broken}. Mend the first one first.")


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def ask(full: bool) -> dict[str, Any]:
    """Ask the task index of this interpreter's lm-eval, which the start-up file has wrapped if it is in force.

    Args:
        full: read lm-eval's own files as well, through its own `TaskManager`: 5 s and more. Otherwise the folder is
            named to the index, as `TaskManager` does, but found empty; all else is lm-eval's own code.

    Returns:
        ours: how many names our task files define.
        seen: how many of them plain lm-eval finds in our files.
        unreadable: those of our files that it passes over, in silence, because it cannot read them.
        clashes: names of ours that its own files define as well.
        wrapped: whether the start-up file is in force.
    """
    from fin_plugins.common.locations import task_folder
    from fin_plugins.compat.lm_eval import installation

    if not full:
        installation.stub_tasks_package()
    folder, overridden = task_folder(), installation.overridden_names()
    ours = installation.build_index([folder])
    read = {file for file in ours.values() if file}
    found = installation.full_index() if full else installation.external_index()
    seen = [name for name in ours if name in found and _below(found[name], folder)]
    clashes = {name for name in ours if name in found and name not in seen} | (set(overridden) & set(ours))
    return {
        "ours": len(ours),
        "seen": len(seen),
        "unreadable": sorted(str(file) for file in set(folder.rglob("*.yaml")) - read),
        "clashes": sorted(clashes),
        "wrapped": installation.hook_in_force(),
    }


def _below(file: Path | None, folder: Path) -> bool:
    return file is not None and file.resolve().is_relative_to(folder)


if __name__ == "__main__":
    print(json.dumps(ask("full" in sys.argv[1:])))
