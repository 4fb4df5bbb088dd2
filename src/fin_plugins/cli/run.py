"""`fin run`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fin_plugins.cli.click_groups import copy_bundled
from fin_plugins.common.bundled import EXPERIMENTS
from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.experiments.machine_limits import Limits
    from fin_plugins.experiments.step_plan import Plan


@click.command("run", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False)
@click.argument("snakemake_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- SNAKEMAKE ARGUMENTS]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key, for example rows.test=50.")
@click.option("--out", "output", metavar="DIR", help="Output folder. [default: results/run/ and FILE's name]")
@click.option("--cores", type=click.IntRange(min=1), help="Cores for all steps. [default: all]")
@click.option("--memory", type=click.FloatRange(min=0.1), metavar="GB", help="Memory for all steps. [default: all]")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs for all steps. [default: all]")
@click.option("--profile", metavar="DIR|slurm|kubernetes", help="Run the steps on a cluster: a Snakemake profile.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan with time and disk, and exit.")
@click.option("--commands", is_flag=True, help="With --dry-run: print each step's command too.")
@click.option(
    "--dag",
    metavar="FILE",
    help="Write the plan as a graph to FILE.mmd (Mermaid), FILE.dot (Graphviz) or FILE.svg (needs Graphviz), and exit; "
    "- prints Graphviz text.",
)
@click.option("--list", "list_experiments", is_flag=True, help="List the bundled experiments.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[TO]", help="Write FILE out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: what it used, or what the other flags print.")
def command(
    file: str | None,
    snakemake_arguments: tuple[str, ...],
    settings: tuple[str, ...],
    output: str | None,
    cores: int | None,
    memory: float | None,
    gpus: int | None,
    profile: str | None,
    dry_run: bool,
    commands: bool,
    dag: str | None,
    list_experiments: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Run a whole experiment: train, merge, score, and make the board.

    FILE is an experiment file, or the name of one that ships with the package. All its problems are reported before
    anything runs. Snakemake runs the steps, each of which is a `fin` command, in parallel as long as cores, memory and
    GPUs suffice.

    \b
    Examples:
      fin run demo                                   # minutes, on embedded rows
      fin run smollm2 --dry-run                      # what would run, how long, how much disk
      fin run smollm2 --dag plan.mmd
      fin run smollm2 --set rows.test=50 --out results/run/small
      fin run paper --copy my.yaml                   # then edit it, and: fin run my.yaml
      fin run my.yaml --profile slurm -- --jobs 8    # after --: arguments for Snakemake

    Run the same command again to resume after Ctrl-C, a kill or an error. Completion is determined by content: after a
    change of a prompt, a row or a key, only the steps that depend on it run again. DIR gets board/ (a page per model),
    record.md (time, memory, disk), logs/ (one per step), and train/, merged/, scores/.
    """  # noqa: D301 (Click's mark, not a regex)
    if list_experiments:
        click.echo(EXPERIMENTS.listing(as_json))
        return
    if copy_to is not None:
        copy_bundled(EXPERIMENTS, "fin run", file, copy_to)
        return
    if file is None:
        raise click.UsageError("name an experiment file; `--list` shows the bundled ones")
    if snakemake_arguments and not snakemake_arguments[0].startswith("-"):
        raise click.UsageError(
            f"{snakemake_arguments[0]}: one experiment at a time (arguments for Snakemake go after --)"
        )
    if profile and (cores or memory or gpus is not None):
        raise click.UsageError("--cores, --memory and --gpus limit this machine; on a cluster the profile sets limits")
    settings = (*settings, *([f"output={json.dumps(output)}"] if output is not None else []))
    if dag:
        _write_graph(_make_plan(file, settings), dag)
    elif dry_run:
        from fin_plugins.experiments.plan_summary import format_plan
        from fin_plugins.training import machine

        available = None if profile else cores or machine.cores()
        click.echo(format_plan(_make_plan(file, settings), as_json, commands, available))
    else:
        from fin_plugins.experiments import machine_limits, snakemake_run

        snakemake_run.check_installed()
        folder = snakemake_run.profile_folder(profile) if profile else None
        limits = None if folder else machine_limits.machine_limits(cores, memory, gpus)
        plan = _make_plan(file, settings, fetch=True)
        pending = plan.pending()
        warnings = machine_limits.check_fit(pending, limits) if limits else []
        for warning in [*warnings, *machine_limits.check_disk(pending, plan.work)]:
            say(warning)
        _run(plan, limits, folder, snakemake_arguments, as_json)


def _make_plan(file: str, settings: tuple[str, ...], *, fetch: bool = False) -> "Plan":
    """The plan of an experiment.

    Args:
        file: experiment file, or name of a bundled one.
        settings: changes of keys.
        fetch: first fetch the data and the demo model.
    """
    from fin_plugins.experiments import experiment_plan
    from fin_plugins.experiments.experiment_file import read_experiment

    experiment = read_experiment(file, settings)
    variable, data = os.environ.get("FIN_DATA"), experiment.config.rows.data
    if variable is not None and (variable or "real") != data:
        say(f"FIN_DATA={variable or 'real'} is ignored here: the file has rows.data={data}; change it with --set")
    if fetch:
        experiment_plan.fetch_inputs(experiment.config)
    return experiment_plan.make_plan(experiment.config, experiment.name, experiment.output.absolute())


def _write_graph(plan: "Plan", file: str) -> None:
    from fin_plugins.experiments.plan_summary import graphviz_graph, write_graph

    if file == "-":
        click.echo(graphviz_graph(plan), nl=False)
    else:
        write_graph(plan, Path(file))
        say(f"{file}: the plan, {len(plan.steps)} steps")


def _run(
    plan: "Plan", limits: "Limits | None", profile: Path | None, snakemake_arguments: tuple[str, ...], as_json: bool
) -> None:
    """Run the plan and print what it used, or raise an error that describes the failures."""
    from fin_plugins.experiments.run_record import format_failures, format_start, format_status
    from fin_plugins.experiments.snakemake_run import Stopped, run_plan
    from fin_plugins.experiments.step_estimates import estimate_steps

    say(format_start(plan, limits))
    estimates = estimate_steps(plan)
    seconds = {name: estimate.seconds for name, estimate in estimates.items() if estimate.basis != "limit"}
    try:
        outcome = run_plan(plan, limits=limits, profile=profile, extra_arguments=snakemake_arguments, seconds=seconds)
    except Stopped:
        say("stopped; run the same command again to resume")
        sys.exit(130)  # the shell's status for Ctrl-C
    if outcome.failed:
        failures = format_failures(plan, outcome)
        raise FinError(
            f"{len(outcome.failed)} of {len(plan.steps)} steps failed\n{failures}\n"
            "when that is fixed, run the same command again to resume"
        )
    click.echo(format_status(plan, as_json))
