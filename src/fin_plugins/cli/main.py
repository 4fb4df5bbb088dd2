"""`fin`: the entry point. A subcommand's module is imported only when the subcommand is used."""

import sys

import click

from fin_plugins import __version__
from fin_plugins.cli.click_groups import LazyGroup
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder

COMMANDS = {
    "eval": "Run lm-eval with the fin tasks; base and many LoRA adapters on one engine, resuming.",
    "train": "Train a LoRA adapter (or a full checkpoint) on the task files.",
    "merge": "Merge adapters or checkpoints by a mergekit recipe, into a checkpoint or one adapter.",
    "run": "Run a whole experiment from one file: train, merge, score, board; resumes after a stop.",
    "board": "Make a table of result files, with intervals, paired tests and forgetting.",
    "task": "Write, check and show task files: a new task is one YAML.",
    "data": "Fetch, check and show the real data sets.",
    "demo": "Run the unseen tasks on a small real model with embedded rows.",
    "path": "Print the folder of task files, for lm-eval's --include_path.",
    "doctor": "Show how lm-eval finds the tasks, and what is wrong with an installation.",
}
_ELSEWHERE = {
    "train": "fin_plugins.training.train_command:command",  # beside the trainer: `accelerate launch` needs it too
    "path": "fin_plugins.cli.main:path",
}


@click.command(
    cls=LazyGroup,
    targets={name: f"fin_plugins.cli.{name}:command" for name in COMMANDS} | _ELSEWHERE,
    help_lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="fin-plugins")
def fin() -> None:
    """Financial text classification for lm-evaluation-harness.

    \b
    First steps:
      fin demo                              # no GPU, no account: a real model on embedded rows
      fin data fetch                        # the real data sets, from their pinned public addresses
      lm_eval --tasks fin_unseen --model vllm --model_args pretrained=MODEL --apply_chat_template
    """  # noqa: D301 (Click's mark, not a regex)


@click.command("path")
def path() -> None:
    """Print the folder of task files.

    \b
    For an lm-eval that does not find the tasks on its own (start-up file switched off):
      lm_eval --tasks fin_unseen --include_path "$(fin path)" --model …
    """  # noqa: D301 (Click's mark, not a regex)
    click.echo(task_folder())


def main() -> None:
    """Run `fin`; errors that users can fix are one line, with exit status 1."""
    try:
        fin(prog_name="fin")  # also where `fin run` starts a step by `python -c`
    except FinError as error:
        click.echo(f"fin: error: {error}", err=True)
        sys.exit(1)
