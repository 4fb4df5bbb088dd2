"""`fin board`. The command itself takes result files; `export` and `card` are verbs below it."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fin_plugins.cli.verbs import OrUnnamed, Unnamed
from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.board.model import Reading


def _names(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for text in given:
        what, equals, name = text.rpartition("=")
        if not (equals and what and name):
            raise click.BadParameter(f"{text}: should be PATH_OR_MODEL=NAME", context, option)
        if names.setdefault(what, name) != name:
            raise click.BadParameter(f"{what} is given two names", context, option)
    return names


_RESULTS = click.argument("results", nargs=-1, required=True)
_NAME = click.option(
    "--name",
    "names",
    multiple=True,
    callback=_names,
    metavar="PATH_OR_MODEL=NAME",
    help="Show the model of this path, hub name or shown name as NAME; repeatable.",
)
_OUT = click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to write to.")


@click.group(cls=OrUnnamed, add_help_option=False, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """From lm-eval's result files to a table that one can trust."""


@command.command("table", cls=Unnamed)
@_RESULTS
@_OUT
@click.option("--baseline", metavar="MODEL", help="The model before fine-tuning: shows what others gained and forgot.")
@click.option("--reference", metavar="MODEL", help="With --baseline: the fine-tune whose gain counts as the whole.")
@click.option("--unseen", multiple=True, metavar="TASK", help="Count TASK as unseen in what was forgotten; repeatable.")
@_NAME
@click.option("--with-documents", is_flag=True, help="Put the texts on the page: for yourself, not to be passed on.")
@click.option("--no-published", is_flag=True, help="Leave the rows of papers out.")
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
    """From lm-eval's result files to a table with intervals, paired tests and forgetting.

    RESULTS are folders, result files, what `fin board export` wrote, or lists that `fin eval --written` wrote: then the
    board has exactly what they name, and the same results give the same bytes on any machine. With sample files
    (--log_samples) every figure is computed again from the answers, and models are compared on the same documents;
    without, the harness's own figures stand there, without intervals. One column holds only what ran on equal rows,
    prompts and settings.

    DIR gets index.html (one file, needs no network), board.md, board.csv, board.json and board.tex. The exit status is
    1 where nothing could be used, or where figures disagree; all that can be written is written then, too.

    \b
    Examples:
      fin board results/ --out leaderboard/
      fin board results/ --out leaderboard/ --baseline BASE --reference multi_seen

    \b
    Verbs of their own, each with --help (a folder of such a name is ./export):
      fin board export results/ --out committed/     # the form without texts, which may be committed
      fin board card multi_seen results/             # the evaluation section of a model card
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.board import asked
    from fin_plugins.board.published import shipped_published
    from fin_plugins.board.rendering import render
    from fin_plugins.board.statistics import board_of
    from fin_plugins.board.summary import as_data, as_lines, problem_lines

    if reference and not baseline:
        raise click.UsageError("--reference goes with --baseline")
    asked.folder(out)
    reading = _read(results, names, with_documents)
    asked.known_model("--baseline", baseline, reading)
    asked.known_model("--reference", reference, reading)
    asked.known_tasks("--unseen", unseen, reading)
    published = () if no_published else shipped_published()
    with _told("intervals and tests"):
        board = board_of(reading, baseline=baseline, reference=reference, unseen=unseen, published=published)
    with _told("writing"):
        files = render(board, out, with_documents=with_documents)
    if as_json:
        click.echo(json.dumps(as_data(board, files), indent=1, ensure_ascii=False))
    else:
        said = [*as_lines(board), *problem_lines(board.problems)]
        click.echo("\n".join([*said, f"{out / 'index.html'}: the page; the same beside it for papers and programs"]))
    context.exit(int(any(problem.is_error for problem in board.problems)))


@command.command("export")
@_RESULTS
@_OUT
@_NAME
def _export(results: tuple[str, ...], out: Path, names: dict[str, str]) -> None:
    """Write results in the form that may be committed: no texts, no prompts, no local paths.

    Of every document it keeps a hash, the gold label and the answer, so that `fin board` makes the same table from it
    as from the files it came from.

    \b
    Example:
      fin board export results/ --out committed/ --name models/run7=multi_seen
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.board import asked
    from fin_plugins.board.export import export

    paths, out = asked.existing(results, command.commands), asked.folder(out)
    with _told("reading and writing"):
        files = export(paths, out, names)
    for file in files:
        click.echo(str(file))


@command.command("card")
@click.argument("model")
@_RESULTS
@_NAME
@click.option("--benchmark", metavar="OWNER/NAME", help="The hub's benchmark data set for the eval-results file.")
@click.pass_context
def _card(
    context: click.Context, model: str, results: tuple[str, ...], names: dict[str, str], benchmark: str | None
) -> None:
    """Print the evaluation section of a model card: metadata, a table, and the newer eval-results file.

    MODEL is the name that the table shows. Only whole runs on real data are in the section.

    \b
    Example:
      fin board card multi_seen results/ > section.md
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.board import asked
    from fin_plugins.board.card import card
    from fin_plugins.board.statistics import board_of
    from fin_plugins.board.summary import problem_lines

    reading = _read(results, names, with_documents=False)
    asked.known_model("MODEL", model, reading)
    with _told("intervals"):
        board = board_of(reading, baseline=None, reference=None, unseen=(), published=())
    for line in problem_lines(board.problems):
        click.echo(line, err=True)
    click.echo(card(board, model, benchmark=benchmark), nl=False)
    context.exit(int(any(problem.is_error for problem in board.problems)))


def _read(results: tuple[str, ...], names: dict[str, str], with_documents: bool) -> "Reading":
    """All that can be used.

    Raises:
        FinError: a path is not there, there is nothing to use, or a name is nobody's.
    """
    from fin_plugins.board import asked
    from fin_plugins.board.reading import read_results
    from fin_plugins.board.summary import problem_lines

    paths = asked.existing(results, command.commands)
    with _told("reading"):
        reading = read_results(paths, names=names, with_documents=with_documents)
    if not reading.columns:
        for line in problem_lines(reading.problems):
            click.echo(line, err=True)
        raise FinError(f"{', '.join(results)}: no results to show; lm-eval's --output_path names their folder")
    asked.used_names(names, reading)
    return reading


def _told(what: str) -> AbstractContextManager[None]:
    from fin_plugins.board.progress import told_when_long

    return told_when_long(what)
