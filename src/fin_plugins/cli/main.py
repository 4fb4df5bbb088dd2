"""`fin`: the entry point. A verb's module is imported only when that verb is named."""

import sys

import click

from fin_plugins import __version__
from fin_plugins.cli.verbs import Verbs
from fin_plugins.common.errors import FinError

VERBS = {
    "eval": "Run lm-eval with the fin tasks; base and many LoRA adapters on one engine, resuming.",
    "train": "Train a LoRA adapter (or a full checkpoint) on the task files.",
    "merge": "Merge adapters or checkpoints by a mergekit recipe, into a checkpoint or one adapter.",
    "run": "Run a whole experiment from one file: train, merge, score, board; stops and goes on.",
    "board": "From result files to a table with intervals, paired tests and forgetting.",
    "task": "Write, check and show task files: a new task is one YAML.",
    "data": "Fetch, check and show the real data sets.",
    "demo": "Run the unseen tasks on a small real model with embedded rows.",
    "path": "Print the folder of task files, for lm-eval's --include_path.",
    "doctor": "Say how lm-eval sees the tasks, and what is wrong with an installation.",
}


@click.command(
    cls=Verbs, verbs=VERBS, module="fin_plugins.cli.{}", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="fin-plugins")
def fin() -> None:
    """Financial text classification for lm-evaluation-harness.

    \b
    First steps:
      fin demo                              # no GPU, no account: a real model on embedded rows
      fin data fetch                        # the real data sets, from their pinned public addresses
      lm_eval --tasks fin_unseen --model vllm --model_args pretrained=MODEL --apply_chat_template
    """  # noqa: D301 (click's mark, not a regex)


def main() -> None:
    """Run `fin`; an error that the user can mend is one line and exit status 1."""
    try:
        fin()
    except FinError as error:
        click.echo(f"fin: error: {error}", err=True)
        sys.exit(1)
