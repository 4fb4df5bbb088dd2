"""`fin task`: writes, checks, shows and lists task files; `new` and `check` have their own modules."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from fin_plugins.cli.click_groups import LazyGroup

COMMANDS = {
    "new": "Write a task YAML (and its _gen variant) for a labelled file.",
    "check": "Report every problem in task, group and training files, with line and rule.",
    "show": "Print a task's card: the prompt as the model sees it, labels, splits, licence.",
    "list": "List tasks with their side (seen or unseen), size and source.",
}
_TARGETS = {
    "new": "fin_plugins.cli.task_new:command",
    "check": "fin_plugins.cli.task_check:command",
    "show": "fin_plugins.cli.task:show",
    "list": "fin_plugins.cli.task:list_tasks",
    "schema": "fin_plugins.cli.task:schema",
}
_HELP = {"help_option_names": ["-h", "--help"]}
_include_path = click.option(
    "--include_path", "folders", multiple=True, type=click.Path(path_type=Path), help="Folder of task files."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


@click.command("task", cls=LazyGroup, targets=_TARGETS, help_lines=COMMANDS, context_settings=_HELP)
def command() -> None:
    """Write, check and show task files.

    \b
    From a labelled file to a score:
      fin task new my_task --data rows.csv --text headline --label sentiment
      fin task check my_task.yaml
      fin eval --tasks my_task --include_path . --model fin_hf --model_args pretrained=MODEL --apply_chat_template

    \b
    Leave --apply_chat_template out for a base model (one without a chat template).
    """  # noqa: D301 (Click's mark, not a regex)


@click.command("show", context_settings=_HELP)
@click.argument("task", metavar="NAME_OR_PATH")
@_include_path
@click.option("--row", default=0, show_default=True, type=click.IntRange(min=0), help="Row of the prompt, from 0.")
@click.option("--split", help="Split of the row.  [default: the test split]")
@click.option("--model", help="Folder or hub name, for its chat template.  [default: the demo model, if installed]")
@_json
def show(task: str, folders: tuple[Path, ...], row: int, split: str | None, model: str | None, as_json: bool) -> None:
    """Print a task's card: the prompt as the model sees it, labels, splits, floors, licence, hashes.

    lm-eval itself renders the prompt, without few-shot examples. No model is started: only the tokenizer of --model is
    read.

    \b
    Examples:
      fin task show fin_fomc --split train
      fin task show my_task.yaml --row 3 --model microsoft/Phi-3-mini-4k-instruct
      FIN_DATA=sample fin task show fin_deal --json | jq .floor
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.catalogue.task_card import build_card, format_card
    from fin_plugins.catalogue.task_search import find_task

    card = build_card(find_task(task, folders), split, row, model)
    click.echo(json.dumps(asdict(card), indent=1, ensure_ascii=False) if as_json else format_card(card))


@click.command("list", context_settings=_HELP)
@_include_path
@_json
def list_tasks(folders: tuple[Path, ...], as_json: bool) -> None:
    """List the fin tasks: the bundled ones, yours in --include_path, and those in the working directory.

    Row counts are after cleaning; the licence is the data's, as its publisher states it.

    \b
    Examples:
      fin task list
      fin task list --include_path my_tasks --json | jq '.[].licence'
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.catalogue.task_listing import format_tasks, list_task
    from fin_plugins.catalogue.task_search import search_tasks

    result = search_tasks(folders)
    tasks = [list_task(task) for task in result.tasks.values()]
    data = [asdict(task) for task in tasks]
    click.echo(json.dumps(data, indent=1, ensure_ascii=False) if as_json else format_tasks(tasks))
    for problem in result.problems:
        click.echo(problem, err=True)


@click.command("schema", hidden=True, context_settings=_HELP)
@click.option(
    "--write", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder."
)
def schema(folder: Path) -> None:
    """Write the JSON Schemas that editors read, after a change of what YAML files may contain."""
    from fin_plugins.authoring.json_schemas import write_schemas

    for path in write_schemas(folder):
        click.echo(path)
