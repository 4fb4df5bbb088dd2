"""`fin task`: task files written, checked and shown. A verb's module is imported only when that verb is named."""

import click

from fin_plugins.cli.verbs import Verbs

VERBS = {
    "new": "Write a task YAML (and its _gen twin) for a labelled file.",
    "check": "Report every problem in task, group and training files, with line and rule.",
    "show": "Print a task's card: the prompt as the model sees it, labels, splits, licence.",
    "list": "List tasks with their side (seen or unseen), size and source.",
}
HIDDEN = ("schema",)
"""For the project's own use."""


@click.command(
    "task",
    cls=Verbs,
    verbs=VERBS,
    own_use=HIDDEN,
    module="fin_plugins.cli.task_{}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Write, check and show task files.

    \b
    From a labelled file to a score:
      fin task new my_task --data rows.csv --text headline --label sentiment
      fin task check my_task.yaml
      fin eval --tasks my_task --include_path . --model fin_hf --model_args pretrained=MODEL --apply_chat_template

    \b
    Leave --apply_chat_template out for a base model (one without a chat template).
    """  # noqa: D301 - click wants the character itself
