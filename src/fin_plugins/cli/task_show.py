"""`fin task show`."""

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command("show", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("task", metavar="NAME_OR_PATH")
@click.option("--include_path", "folders", multiple=True, type=click.Path(path_type=Path), help="Folder of task files.")
@click.option("--row", default=0, show_default=True, type=click.IntRange(min=0), help="Whose prompt, counted from 0.")
@click.option("--split", help="Split of that row.  [default: the test split]")
@click.option("--model", help="Folder or hub name, for its chat template.  [default: the demo model, if it is there]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
def command(
    task: str, folders: tuple[Path, ...], row: int, split: str | None, model: str | None, as_json: bool
) -> None:
    """Print a task's card: the prompt as the model sees it, labels, splits, floors, licence, hashes.

    The prompt is lm-eval's own work, without few-shot examples. No model is started: of --model only the tokenizer is
    read.

    \b
    Examples:
      fin task show fin_fomc --split train
      fin task show my_task.yaml --row 3 --model microsoft/Phi-3-mini-4k-instruct
      FIN_DATA=sample fin task show fin_deal --json | jq .floor
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.catalogue.card import build
    from fin_plugins.catalogue.card_text import text
    from fin_plugins.catalogue.find import find

    card = build(find(task, folders), split, row, model)
    click.echo(json.dumps(asdict(card), indent=1, ensure_ascii=False) if as_json else text(card))
