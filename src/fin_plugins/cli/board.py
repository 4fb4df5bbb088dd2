"""`fin board`. The group itself takes result files; `export` and `card` are subcommands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fin_plugins.cli.click_groups import DefaultCommand, DefaultCommandGroup
from fin_plugins.common.errors import FinError
from fin_plugins.common.progress import heartbeat

if TYPE_CHECKING:
    from fin_plugins.board.board_data import LoadedRuns


def _parse_names(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for text in values:
        model, equals, name = text.rpartition("=")
        if not (equals and model and name):
            raise click.BadParameter(f"{text}: should be PATH_OR_MODEL=NAME", context, option)
        if names.setdefault(model, name) != name:
            raise click.BadParameter(f"{model} is given two names", context, option)
    return names


_results = click.argument("results", nargs=-1, required=True)
_name = click.option(
    "--name",
    "names",
    multiple=True,
    callback=_parse_names,
    metavar="PATH_OR_MODEL=NAME",
    help="Show the model of this path, hub name or displayed name as NAME; repeatable.",
)
_out = click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Output folder.")


@click.group(cls=DefaultCommandGroup, add_help_option=False, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """Make a table of lm-eval's result files."""


@command.command("table", cls=DefaultCommand)
@_results
@_out
@click.option("--baseline", metavar="MODEL", help="Model before fine-tuning: shows what others gained and forgot.")
@click.option("--reference", metavar="MODEL", help="With --baseline: fine-tuned model whose gain counts as 100 %.")
@click.option("--unseen", multiple=True, metavar="TASK", help="Count TASK as unseen in forgetting; repeatable.")
@_name
@click.option("--with-documents", is_flag=True, help="Show the texts on the page: for yourself, do not share it.")
@click.option("--no-published", is_flag=True, help="Leave published rows out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.pass_context
def _table(
    context: click.Context,
    results: tuple[str, ...],
    out: Path,
    baseline: str | None,
    reference: str | None,
    unseen: tuple[str, ...],
    names: dict[str, str],
    with_documents: bool,
    no_published: bool,
    as_json: bool,
) -> None:
    """Make a table of lm-eval's result files, with intervals, paired tests and forgetting.

    RESULTS are folders, result files, what `fin board export` wrote, or lists that `fin eval --written` wrote: then
    the board has exactly the results they name. The same results give the same bytes on any machine. With sample files
    (--log_samples) every figure is recomputed from the answers, and models are compared on the same documents; without,
    lm-eval's own figures are shown, without intervals. A column only has results of equal rows, prompts and settings.

    DIR gets index.html (one file, needs no network), board.md, board.csv, board.json and board.tex. The exit status is
    1 if there are no usable results, or if figures disagree; in the latter case everything else is still written.

    \b
    Examples:
      fin board results/ --out leaderboard/
      fin board results/ --out leaderboard/ --baseline BASE --reference multi_seen

    \b
    Subcommands, each with --help (write ./export for a folder of that name):
      fin board export results/ --out committed/     # one file without texts, which may be committed
      fin board card multi_seen results/             # the evaluation section of a model card
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.board import cli_options
    from fin_plugins.board.published_figures import bundled_published
    from fin_plugins.board.rendering.write_board import write_board
    from fin_plugins.board.statistics.build_board import build_board
    from fin_plugins.board.terminal_summary import format_problems, format_summary, summary_json

    if reference and not baseline:
        raise click.UsageError("--reference goes with --baseline")
    cli_options.check_output_folder(out)
    reading = _read(results, names, with_documents)
    cli_options.check_model("--baseline", baseline, reading)
    cli_options.check_model("--reference", reference, reading)
    cli_options.check_tasks("--unseen", unseen, reading)
    published = () if no_published else bundled_published()
    with heartbeat("intervals and tests"):
        board = build_board(reading, baseline=baseline, reference=reference, unseen=unseen, published=published)
    with heartbeat("writing"):
        files = write_board(board, out, with_documents=with_documents)
    if as_json:
        click.echo(json.dumps(summary_json(board, files), indent=1, ensure_ascii=False))
    else:
        lines = [*format_summary(board), *format_problems(board.problems)]
        click.echo("\n".join([*lines, f"{out / 'index.html'}: the page; other formats are beside it"]))
    context.exit(int(any(problem.is_error for problem in board.problems)))


@command.command("export")
@_results
@click.option(
    "--out",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File to write if it ends in .parquet, else the folder of answers.parquet.",
)
@_name
def _export(results: tuple[str, ...], out: Path, names: dict[str, str]) -> None:
    """Write results to one Parquet file that may be committed: no texts, no prompts, no local paths.

    It keeps a hash, the gold label and the answer of every document, so that `fin board` makes the same table of it as
    of the original files.

    \b
    Example:
      fin board export results/ --out committed/ --name models/run7=multi_seen
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.board import cli_options
    from fin_plugins.board.results_export import export_file, export_results

    paths = cli_options.existing_paths(results, command.commands)
    cli_options.check_output_folder(export_file(out).parent)
    with heartbeat("reading and writing"):
        file = export_results(paths, out, names)
    click.echo(str(file))


@command.command("card")
@click.argument("model")
@_results
@_name
@click.option("--benchmark", metavar="OWNER/NAME", help="The hub's benchmark data set for the eval-results file.")
@click.pass_context
def _card(
    context: click.Context, model: str, results: tuple[str, ...], names: dict[str, str], benchmark: str | None
) -> None:
    """Print the evaluation section of a model card: metadata, a table, and the newer eval-results file.

    MODEL is the name that the table shows. The section includes complete runs on real data only.

    \b
    Example:
      fin board card multi_seen results/ > section.md
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.board import cli_options
    from fin_plugins.board.card_section import format_card_section
    from fin_plugins.board.statistics.build_board import build_board
    from fin_plugins.board.terminal_summary import format_problems

    reading = _read(results, names, with_documents=False)
    cli_options.check_model("MODEL", model, reading)
    with heartbeat("intervals"):
        board = build_board(reading, baseline=None, reference=None, unseen=(), published=())
    for line in format_problems(board.problems):
        click.echo(line, err=True)
    click.echo(format_card_section(board, model, benchmark=benchmark), nl=False)
    context.exit(int(any(problem.is_error for problem in board.problems)))


def _read(results: tuple[str, ...], names: dict[str, str], with_documents: bool) -> "LoadedRuns":
    """The usable results.

    Raises:
        FinError: a path does not exist, there are no usable results, or a name matches no model.
    """
    from fin_plugins.board import cli_options
    from fin_plugins.board.reading.load_runs import load_runs
    from fin_plugins.board.terminal_summary import format_problems

    paths = cli_options.existing_paths(results, command.commands)
    with heartbeat("reading"):
        reading = load_runs(paths, names=names, with_documents=with_documents)
    if not reading.columns:
        for line in format_problems(reading.problems):
            click.echo(line, err=True)
        raise FinError(f"{', '.join(results)}: no results to show; lm-eval's --output_path names their folder")
    cli_options.check_names_used(names, reading)
    return reading
