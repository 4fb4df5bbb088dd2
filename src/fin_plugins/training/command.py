"""The trainer's command line: `fin train`, and `python -m fin_plugins.training` for `accelerate launch`."""

import json
import os
import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING

import click

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.training.files.read import Configured
    from fin_plugins.training.run import TrainResult


@click.command("train", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config", required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key, as lora.r=32; repeatable.")
@click.option("--out", "output", metavar="DIR", help="Adapter's folder. [default: results/train/ and CONFIG's name]")
@click.option("--merge", is_flag=True, help="Also write the merged checkpoint.")
@click.option("--dry-run", is_flag=True, help="Check everything that needs no model, print the configuration, stop.")
@click.option("--fresh", is_flag=True, help="Throw away what a stopped run left, instead of going on from it.")
@click.option("--list", "listing", is_flag=True, help="List the shipped configurations.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[FILE]", help="Write CONFIG out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the run's record, or what the other flags print.")
def command(
    config: str | None,
    settings: tuple[str, ...],
    output: str | None,
    merge: bool,
    dry_run: bool,
    fresh: bool,
    listing: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Train a LoRA adapter, or a full checkpoint, on the task files.

    CONFIG is a training file, or the name of one that comes with the package. The prompts are those of the
    evaluation, byte for byte; what comes out is a PEFT adapter that fin eval, vLLM and PEFT load. All that is wrong
    with a file is said at once, with file and line, before anything is loaded.

    \b
    Examples:
      FIN_DATA=sample fin train demo                 # a minute on two cores, on embedded rows
      fin train --list                               # what comes with the package
      fin train single_fomc --set model=mistralai/Mistral-7B-Instruct-v0.2
      fin train multi_seen --set lora.r=32 --set 'tasks=[fin_fomc,fin_fpb]' --set replay=self --merge
      fin train single_fomc --copy my.yaml           # then edit it, and: fin train my.yaml
      fin train my.yaml --dry-run                    # every key, with its default
      accelerate launch -m fin_plugins.training my.yaml   # many devices; accelerate's own flags before -m

    The same command started again goes on where a stopped run was (--fresh: from the beginning). A VALUE is YAML; a
    number in KEY counts a list's items from 0, as in tasks.0.cap=500.
    """  # noqa: D301 (click's mark, not a regex)
    if listing:
        _list(as_json)
        return
    if copy_to and config is None:  # `--copy NAME`: what stands behind a flag is its value to click
        config, copy_to = copy_to, ""
    if config is None:
        raise click.UsageError("name a training file or a shipped configuration; `--list` shows those")
    if copy_to is not None:
        if settings or output or merge:
            raise click.UsageError("--copy writes the file out unchanged: leave --set, --out and --merge away")
        _copy(config, copy_to)
        return
    read = _read(config, settings, output, merge)
    if dry_run:
        _load_foreign_tasks(read)
        _show(read, as_json)
    else:
        _train(read, fresh, as_json)


def main() -> None:
    """Run the command alone; an error that the user can mend is its message and exit status 1."""
    try:
        command(prog_name="python -m fin_plugins.training")
    except FinError as error:
        click.echo(f"fin: error: {error}", err=True)
        sys.exit(1)


def _list(as_json: bool) -> None:
    from fin_plugins.common.bundled import TRAINING_CONFIGS

    click.echo(TRAINING_CONFIGS.listing(as_json))


def _copy(config: str, to: str) -> None:
    from fin_plugins.common.bundled import TRAINING_CONFIGS

    target = TRAINING_CONFIGS.copy(config, to)
    click.echo(f"{target}: edit it, then run `fin train {target}`")


def _read(config: str, settings: tuple[str, ...], output: str | None, merge: bool) -> "Configured":
    from fin_plugins.training.files.overrides import Override
    from fin_plugins.training.files.read import read_config

    flags = [Override(f"--out {output}", ("output",), output)] if output is not None else []
    flags += [Override("--merge", ("merge",), True)] if merge else []
    return read_config(config, settings, flags, depth="rows")


def _load_foreign_tasks(read: "Configured") -> None:
    """Load the tasks as training does, where one is known to lm-eval only; the others have been looked at.

    Raises:
        FinError: one cannot be trained on.
    """
    from fin_plugins.training.files.checks import task_file

    if any(task_file(share.task) is None for share in read.config.tasks):
        from fin_plugins.training.prepare import load_trainable

        load_trainable(read.config)


def _show(read: "Configured", as_json: bool) -> None:
    import yaml

    if as_json:
        click.echo(json.dumps(read.resolved, indent=1, ensure_ascii=False))
        return
    click.echo(f"# {read.source}: nothing wrong; nothing was trained")
    click.echo(yaml.safe_dump(read.resolved, sort_keys=False, allow_unicode=True), nl=False)


def _train(read: "Configured", fresh: bool, as_json: bool) -> None:
    from fin_plugins.training.run import train

    try:
        # What libraries print on the way may not stand in front of the JSON.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            result = train(read.config, read.name, fresh=fresh)
    except KeyboardInterrupt as stop:
        what = str(stop) or "stopped at once; what came after the last checkpoint is lost"
        click.echo(f"fin train: {what}; the same command goes on from there", err=True)
        sys.exit(130)  # as a shell has it for Ctrl-C
    if os.environ.get("RANK", "0") == "0":  # of many processes, one speaks
        click.echo(json.dumps(result.record, indent=1, ensure_ascii=False) if as_json else _told(result))


def _told(result: "TrainResult") -> str:
    from fin_plugins.training.report.evaluation_command import evaluation_command

    record = result.record
    early = f" of {record['planned_steps']}: stopped early" if record["steps"] < (record["planned_steps"] or 0) else ""
    curve = {check["step"]: check["mean"] for check in record["validation_curve"]}
    lines = [f"\n{result.folder}: {record['method']}, {record['steps']} steps{early}, {record['wall_seconds']:.0f} s"]
    if curve:
        metric = record["config"]["validation"]["metric"]
        best, before = curve[record["best_step"]], curve[0]
        lines.append(
            f"  kept: step {record['best_step']}, {metric} {best:.3f} on validation rows; untrained {before:.3f}"
        )
        if before is not None and best <= before:
            lines.append(
                "  training did not help: see the loss in training.svg; try another learning_rate or more rows"
            )
    lines.append("  README.md is its card, train.json the whole record, training.svg loss and validation")
    lines += [f"  merged checkpoint: {result.merged}"] if result.merged else []
    lines.append(f"next: {evaluation_command(record, result.folder, result.base)}")
    return "\n".join(lines)
