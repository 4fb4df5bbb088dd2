"""`fin doctor`. Run as a module, this file is its proof: it asks lm-eval's own task index for our tasks."""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
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

    if not full:
        _leave_out_the_package_code()
    from lm_eval.tasks._index import TaskIndex

    folder, overridden = task_folder(), _overridden_names()
    ours = TaskIndex.build([folder])
    read = {Path(entry.yaml_path) for entry in ours.values() if entry.yaml_path}
    found = _whole_index() if full else _index_less_own_files(TaskIndex)
    seen = [name for name in ours if name in found and _below(found[name], folder)]
    clashes = {name for name in ours if name in found and name not in seen} | (set(overridden) & set(ours))
    return {
        "ours": len(ours),
        "seen": len(seen),
        "unreadable": sorted(str(file) for file in set(folder.rglob("*.yaml")) - read),
        "clashes": sorted(clashes),
        "wrapped": hasattr(TaskIndex.build, "_fin_plugins"),
    }


def _leave_out_the_package_code() -> None:
    """Put an empty package in place of `lm_eval.tasks`, whose own code imports for a second; its modules stay real."""
    import lm_eval

    package = ModuleType("lm_eval.tasks")
    package.__path__ = [str(Path(str(lm_eval.__file__)).parent / "tasks")]
    sys.modules[package.__name__] = package


def _whole_index() -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    index: dict[str, Any] = TaskManager().task_index
    return index


def _index_less_own_files(task_index: Any) -> dict[str, Any]:
    shipped, walk = Path(sys.modules[task_index.__module__].__file__ or "").parent, task_index._iter_yaml_files
    task_index._iter_yaml_files = staticmethod(lambda root: () if Path(root) == shipped else walk(root))
    index: dict[str, Any] = task_index.build([shipped])
    return index


def _below(entry: Any, folder: Path) -> bool:
    return entry.yaml_path is not None and Path(entry.yaml_path).resolve().is_relative_to(folder)


def _overridden_names() -> list[str]:
    """A list that fills with the names lm-eval logs as defined twice (`Task '%s' from %s overrides …`)."""
    names: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "overrides existing" in str(record.msg) and isinstance(record.args, tuple):
                names.append(str(record.args[0]))

    logging.getLogger("lm_eval.tasks._index").addHandler(Listener())
    return names


if __name__ == "__main__":
    print(json.dumps(ask("full" in sys.argv[1:])))
