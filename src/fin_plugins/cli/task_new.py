"""`fin task new`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.authoring.task_request import Prompter


@click.command("new")
@click.argument("name")
@click.option("--data", multiple=True, required=True, help="A file; train=FILE and test=FILE; or hf:OWNER/NAME.")
@click.option("--text", help="Column of the text; in nested JSON a path, for example document.body.")
@click.option("--label", help="Column of the label, or a path.")
@click.option("--labels", help="Labels in report order, for example down,flat,up; default: as in the data.")
@click.option("--alias", multiple=True, metavar="LABEL=WORD", help="Ask the model for WORD where the data has LABEL.")
@click.option("--drop-label", multiple=True, metavar="LABEL", help="Leave out the rows with this label, such as N/A.")
@click.option("--sheet", help="Sheet of a workbook.")
@click.option("--encoding", help="Encoding of a text file, for example cp1252  [default: UTF-8, or UTF-16 by its mark]")
@click.option("--instruction", help="Text above the row's text in the prompt, or a whole template with {{text}}.")
@click.option("--split-column", help="Column with train, validation or test.")
@click.option("--test", type=click.FloatRange(0, 1, True), help="Share of the rows to test on; 1: all  [default: 0.2]")
@click.option("--validation", type=click.FloatRange(0, 1, max_open=True), help="Share to validate on  [default: 0.1]")
@click.option("--split-seed", type=click.IntRange(0), help="Seed of the split  [default: 42]")
@click.option("--seen/--unseen", default=None, help="Whether models are trained on it  [default: unseen]")
@click.option("--source", help="Source of the data: an address, or a sentence.")
@click.option("--licence", help="Licence of the data.")
@click.option("--language", default="en", show_default=True, help="Language of the texts.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder  [default: here]")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: use what the data suggests.")
@click.option("--no-input", is_flag=True, help="Ask nothing: fail where a question would be asked.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, data: tuple[str, ...], out: Path, as_json: bool, **flags: Any) -> None:
    """Write NAME.yaml and its variant NAME_gen.yaml for labelled rows: CSV, TSV, JSON, JSONL, Parquet, XLSX or the hub.

    The first compares the likelihoods of the labels, the variant lets the model generate its answer. Rows without
    splits are split by a hash of each text, so that no text is in two splits and a row keeps its split when rows are
    added.

    \b
    Examples:
      fin task new my_task --data rows.csv --text headline --label sentiment
      fin task new my_task --data train=a.jsonl --data test=b.jsonl --text body --label topic --licence CC0-1.0
      fin task new my_task --data rows.xlsx --sheet 2026 --alias 0=dovish --alias 1=hawkish --yes
      fin task new my_task --data hf:owner/name --text text --label label
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.authoring.labelled_data import read_source
    from fin_plugins.authoring.task_files import (
        check_name,
        generative_name,
        render_generative_variant,
        render_task,
        write_task_files,
    )
    from fin_plugins.authoring.task_plan import format_new_task, plan_task
    from fin_plugins.authoring.task_plan import plan_to_dict as in_json
    from fin_plugins.authoring.task_request import Prompter, build_request

    asking = Prompter(
        is_interactive=on_a_terminal() and not flags["yes"] and not flags["no_input"], accept_guesses=flags["yes"]
    )
    check_name(name)
    files = [out / f"{name}.yaml", out / f"{generative_name(name)}.yaml"]
    _confirm_overwrite(files, flags["force"], asking)
    source = read_source(data, out, flags["sheet"], flags["encoding"])
    new_task = plan_task(build_request(name, source, flags, asking), source)
    write_task_files(
        dict(zip(files, (render_task(new_task.draft), render_generative_variant(new_task.draft)), strict=True))
    )
    click.echo(
        json.dumps(in_json(new_task, files), ensure_ascii=False, indent=1)
        if as_json
        else format_new_task(new_task, files)
    )


def _confirm_overwrite(files: list[Path], force: bool, asking: "Prompter") -> None:
    existing = [str(file) for file in files if file.exists()]
    if not existing or force:
        return
    if not asking.is_interactive:
        raise FinError(f"{', '.join(existing)}: exists already: --force to overwrite, or choose another name")
    click.confirm(f"Overwrite {', '.join(existing)}?", abort=True)


def on_a_terminal() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()
