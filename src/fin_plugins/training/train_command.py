"""The command `fin train`, also `python -m fin_plugins.training` for `accelerate launch`."""

import json
import os
import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING

import click

from fin_plugins.common.bundled import TRAINING_CONFIGS
from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.training.config_loading import LoadedConfig
    from fin_plugins.training.train_run import TrainResult


@click.command("train", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("config", required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key, as lora.r=32; repeatable.")
@click.option("--out", "output", metavar="DIR", help="Adapter's folder. [default: results/train/ and CONFIG's name]")
@click.option("--merge", is_flag=True, help="Also write the merged checkpoint.")
@click.option("--dry-run", is_flag=True, help="Check all that needs no model, print the configuration, and stop.")
@click.option("--fresh", is_flag=True, help="Delete a stopped run and start again, instead of resuming it.")
@click.option("--list", "list_configs", is_flag=True, help="List the bundled configurations.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[FILE]", help="Copy CONFIG, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the run's record, or what the other flags print.")
def command(
    config: str | None,
    settings: tuple[str, ...],
    output: str | None,
    merge: bool,
    dry_run: bool,
    fresh: bool,
    list_configs: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Train a LoRA adapter, or a full checkpoint, on the task files.

    CONFIG is a training file or the name of a bundled one. Prompts equal those of the evaluation, byte for byte. The
    result is a PEFT adapter that fin eval, vLLM and PEFT load. Problems of a file are all reported together, with their
    lines, before anything is loaded.

    \b
    Examples:
      FIN_DATA=sample fin train demo                 # a minute on two cores, on bundled sample rows
      fin train --list                               # the bundled configurations
      fin train single_fomc --set model=mistralai/Mistral-7B-Instruct-v0.2
      fin train multi_seen --set lora.r=32 --set 'tasks=[fin_fomc,fin_fpb]' --set replay=self --merge
      fin train single_fomc --copy my.yaml           # edit it, then: fin train my.yaml
      fin train my.yaml --dry-run                    # all keys, with their defaults
      accelerate launch -m fin_plugins.training my.yaml   # many devices; accelerate's own flags before -m

    The same command resumes a stopped run; with --fresh it starts again. A VALUE is YAML. A number in KEY is an index
    into a list, from 0, as in tasks.0.cap=500.
    """  # noqa: D301 (click's mark, not a regex)
    if list_configs:
        click.echo(TRAINING_CONFIGS.listing(as_json))
        return
    if copy_to and config is None:  # `--copy NAME`: click takes the name for the value of --copy
        config, copy_to = copy_to, ""
    if config is None:
        raise click.UsageError("name a training file or a bundled configuration; `--list` shows them")
    if copy_to is not None:
        if settings or output or merge:
            raise click.UsageError("--copy copies the file unchanged, so --set, --out and --merge have no effect")
        target = TRAINING_CONFIGS.copy(config, copy_to)
        click.echo(f"{target}: edit it, then run `fin train {target}`")
        return
    loaded = _load(config, settings, output, merge)
    if dry_run:
        _check_lm_eval_tasks(loaded)
        _show(loaded, as_json)
    else:
        _train(loaded, fresh, as_json)


def main() -> None:
    """Run the command on its own; a `FinError` is printed, with exit status 1."""
    try:
        command(prog_name="python -m fin_plugins.training")
    except FinError as error:
        click.echo(f"fin: error: {error}", err=True)
        sys.exit(1)


def _load(config: str, settings: tuple[str, ...], output: str | None, merge: bool) -> "LoadedConfig":
    from fin_plugins.training.config_loading import Override, read_config

    overrides = [Override(f"--out {output}", ("output",), output)] if output is not None else []
    overrides += [Override("--merge", ("merge",), True)] if merge else []
    return read_config(config, settings, overrides, depth="rows")


def _check_lm_eval_tasks(loaded: "LoadedConfig") -> None:
    """Load the tasks as training does, if one of them is lm-eval's own; the others have been checked.

    Raises:
        FinError: a task cannot be trained on.
    """
    from fin_plugins.training.config_checks import task_file

    if any(task_file(share.task) is None for share in loaded.config.tasks):
        from fin_plugins.training.training_data import load_trainable_tasks

        load_trainable_tasks(loaded.config)


def _show(loaded: "LoadedConfig", as_json: bool) -> None:
    import yaml

    if as_json:
        click.echo(json.dumps(loaded.resolved, indent=1, ensure_ascii=False))
        return
    click.echo(f"# {loaded.source}: no problems found; nothing was trained")
    click.echo(yaml.safe_dump(loaded.resolved, sort_keys=False, allow_unicode=True), nl=False)


def _train(loaded: "LoadedConfig", fresh: bool, as_json: bool) -> None:
    from fin_plugins.training.train_run import train

    try:
        # Libraries print to standard output, which must hold only the JSON.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            result = train(loaded.config, loaded.name, fresh=fresh)
    except KeyboardInterrupt as stop:
        reason = str(stop) or "stopped immediately; steps after the last checkpoint are lost"
        click.echo(f"fin train: {reason}; the same command resumes from there", err=True)
        sys.exit(130)  # the shell's status for Ctrl-C
    if os.environ.get("RANK", "0") == "0":  # only the first of several processes
        summary = json.dumps(result.record, indent=1, ensure_ascii=False) if as_json else format_summary(result)
        click.echo(summary)


def format_summary(result: "TrainResult") -> str:
    """What `fin train` prints at its end: steps, validation, files, and the command that evaluates the result."""
    from fin_plugins.training.training_card import evaluation_command

    record = result.record
    early = f" of {record['planned_steps']}: stopped early" if record["steps"] < (record["planned_steps"] or 0) else ""
    means = {point["step"]: point["mean"] for point in record["validation_curve"]}
    lines = [f"\n{result.folder}: {record['method']}, {record['steps']} steps{early}, {record['wall_seconds']:.0f} s"]
    if means:
        metric = record["config"]["validation"]["metric"]
        best, untrained = means[record["best_step"]], means[0]
        lines.append(
            f"  kept: step {record['best_step']}, {metric} {best:.3f} on validation rows; untrained {untrained:.3f}"
        )
        if untrained is not None and best <= untrained:
            lines.append(
                "  training did not help: see the loss in training.svg; try another learning_rate or more rows"
            )
    lines.append("  README.md: model card; train.json: complete record; training.svg: loss and validation")
    lines += [f"  merged checkpoint: {result.merged}"] if result.merged else []
    lines.append(f"next: {evaluation_command(record, result.folder, result.base)}")
    return "\n".join(lines)
