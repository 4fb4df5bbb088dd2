"""`fin run`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.experiments.config import Experiment
    from fin_plugins.experiments.steps import Plan


@click.command("run", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False)
@click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[-- WORDS FOR SNAKEMAKE]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key, as rows.test=50.")
@click.option("--out", "output", metavar="DIR", help="Folder of all results. [default: results/run/ and FILE's name]")
@click.option("--cores", type=click.IntRange(min=1), help="That steps may take at once. [default: all that are here]")
@click.option("--memory", type=click.FloatRange(min=0.1), metavar="GB", help="Memory likewise.")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs likewise.")
@click.option("--profile", metavar="DIR|slurm|kubernetes", help="Have a cluster run the steps: a Snakemake profile.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan with time and disk, stop.")
@click.option("--commands", is_flag=True, help="With --dry-run: each step's command, too.")
@click.option("--dag", metavar="FILE", help="Draw the plan to FILE.svg or FILE.dot (- for Graphviz text), stop.")
@click.option("--list", "listing", is_flag=True, help="List the shipped experiments.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[TO]", help="Write FILE out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: what it took, or what the other flags print.")
def command(
    file: str | None,
    more: tuple[str, ...],
    settings: tuple[str, ...],
    output: str | None,
    cores: int | None,
    memory: float | None,
    gpus: int | None,
    profile: str | None,
    dry_run: bool,
    commands: bool,
    dag: str | None,
    listing: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Run a whole experiment: train, merge, score, and make the board.

    FILE is an experiment file, or the name of one that comes with the package. Everything that is wrong with it is
    said before anything runs. Snakemake runs the steps, each one of our own commands, side by side as far as cores,
    memory and GPUs suffice.

    \b
    Examples:
      fin run demo                                   # minutes, on embedded rows
      fin run smollm2 --dry-run                      # what would run, how long, how much disk
      fin run smollm2 --dag plan.svg
      fin run smollm2 --set rows.test=50 --out results/run/small
      fin run paper --copy my.yaml                   # then edit it, and: fin run my.yaml
      fin run my.yaml --profile slurm -- --jobs 8    # after --: arguments for Snakemake

    The same command started again, after Ctrl-C, a kill or an error, goes on from there. Steps are found done by
    content: after a change of a prompt, a row or a key only what hangs on it runs again. DIR gets board/ (a page
    a model), record.md (what it took), logs/ (one a step), and train/, merged/, scores/.
    """  # noqa: D301 (click's mark, not a regex)
    if listing:
        _list(as_json)
        return
    if copy_to is not None:
        _copy(file, copy_to)
        return
    if file is None:
        raise click.UsageError("name an experiment file or a shipped one; `--list` shows those")
    if more and not more[0].startswith("-"):
        raise click.UsageError(f"{more[0]}: one experiment at a time (after --: arguments for Snakemake)")
    changes = [*settings, *([f"output={json.dumps(output)}"] if output is not None else [])]
    if profile and (cores or memory or gpus is not None):
        raise click.UsageError("--cores, --memory and --gpus are this machine's; on a cluster the profile has limits")
    if dag:
        _draw(_planned(file, changes, fetch=False), dag)
        return
    if dry_run:
        from fin_plugins.experiments.planning.told import told
        from fin_plugins.training.report import machine

        here = None if profile else cores or machine.cores()
        click.echo(told(_planned(file, changes, fetch=False), as_json, commands, here))
        return
    _run(file, changes, more, (cores, memory, gpus), profile, as_json)


def _list(as_json: bool) -> None:
    from fin_plugins.common.bundled import EXPERIMENTS

    click.echo(EXPERIMENTS.listing(as_json))


def _copy(file: str | None, to: str) -> None:
    from fin_plugins.cli.copying import copy_out
    from fin_plugins.common.bundled import EXPERIMENTS

    copy_out(EXPERIMENTS.copy, "fin run", file, to)


def _planned(file: str, changes: list[str], *, fetch: bool) -> "Plan":
    """The plan of an experiment.

    Args:
        file: the experiment's, or its name.
        changes: of keys.
        fetch: first have the data and the demo model there.
    """
    from fin_plugins.experiments.files.read import read_experiment
    from fin_plugins.experiments.planning.plan import make_plan
    from fin_plugins.experiments.running import prepare

    read = read_experiment(file, changes)
    _say_which_rows(read.config)
    if fetch:
        prepare.fetch(read.config)
    return make_plan(read.config, read.name, read.output.absolute())


def _say_which_rows(config: "Experiment") -> None:
    said = os.environ.get("FIN_DATA") or "real"
    if said != config.rows.data and "FIN_DATA" in os.environ:
        _say(
            f"FIN_DATA={said} counts for nothing here: the file has rows.data={config.rows.data}; change it with --set"
        )


def _draw(plan: "Plan", to: str) -> None:
    from fin_plugins.experiments.dag import dot, draw

    if to == "-":
        click.echo(dot(plan), nl=False)
    else:
        draw(plan, Path(to))
        _say(f"{to}: the plan, {len(plan.steps)} steps")


def _run(
    file: str,
    changes: list[str],
    more: tuple[str, ...],
    asked: tuple[int | None, float | None, int | None],
    profile: str | None,
    as_json: bool,
) -> None:
    """Run an experiment, and say how it went.

    Args:
        file: the experiment's, or its name.
        changes: of keys.
        more: arguments for Snakemake.
        asked: cores, memory and GPUs, where the user limits them.
        profile: of the cluster, if any.
        as_json: print what it took as JSON.
    """
    from fin_plugins.experiments.running import prepare, snakemake, told
    from fin_plugins.experiments.running.run import Stopped, run_plan

    snakemake.check_installed()
    folder = snakemake.profile_folder(profile) if profile else None
    limits = None if folder else prepare.limits(*asked)
    plan = _planned(file, changes, fetch=True)
    to_do = plan.to_do()
    for remark in [*(prepare.check_fit(to_do, limits) if limits else ()), *prepare.check_disk(to_do, plan.work)]:
        _say(remark)
    _say(told.before(plan, limits))
    try:
        outcome = run_plan(plan, limits=limits, profile=folder, more=more, seconds=_seconds(plan))
    except Stopped:
        _say("stopped; the same command goes on from there")
        sys.exit(130)  # as a shell has it for Ctrl-C
    if outcome.failed:
        said = f"{told.failures(plan, outcome)}\nwhen that is mended, the same command goes on from there"
        raise FinError(f"{len(outcome.failed)} of {len(plan.steps)} steps failed\n{said}")
    click.echo(told.after(plan, as_json))


def _seconds(plan: "Plan") -> dict[str, float]:
    """How long steps take, as far as more is known than the hours that the file allows."""
    from fin_plugins.experiments.planning.estimate import estimate

    return {name: found.seconds for name, found in estimate(plan).items() if found.basis != "limit"}


def _say(text: str) -> None:
    click.echo(f"fin run: {text}", err=True)
