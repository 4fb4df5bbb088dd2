"""`fin task list`."""

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("list", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--include_path", "folders", multiple=True, type=click.Path(path_type=Path), help="Folder of task files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def command(folders: tuple[Path, ...], as_json: bool) -> None:
    """List the fin tasks: those that ship, yours in --include_path, and those in the working folder.

    Rows are those after cleaning; the licence is the data's, as its publisher states it.

    \b
    Examples:
      fin task list
      fin task list --include_path my_tasks --json | jq '.[].licence'
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.catalogue.find import search
    from fin_plugins.catalogue.listing import listed, text

    found = search(folders)
    tasks = [listed(task) for task in found.tasks.values()]
    click.echo(json.dumps([asdict(task) for task in tasks], indent=1, ensure_ascii=False) if as_json else text(tasks))
    for problem in found.problems:
        click.echo(problem, err=True)
