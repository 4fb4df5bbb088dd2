"""`fin task`: task files written, checked and shown. A verb's module is imported only when that verb is named."""

import importlib

import click

VERBS = {
    "new": "Write a task YAML (and its _gen twin) for a labelled file.",
    "check": "Report every problem in task, group and training files, with line and rule.",
    "show": "Print a task's card: the prompt as the model sees it, labels, splits, licence.",
    "list": "List tasks with their side (seen or unseen), size and source.",
}
HIDDEN = ("schema",)
"""For the project's own use."""


class Verbs(click.Group):
    """The verbs in the order in which a new user needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in (*VERBS, *HIDDEN):
            return None
        command = importlib.import_module(f"fin_plugins.cli.task_{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command("task", cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Write, check and show task files.

    \b
    From a labelled file to a score:
      fin task new my_task --data rows.csv --text headline --label sentiment
      fin task check my_task.yaml
      fin eval --tasks my_task --include_path . --model hf --model_args pretrained=MODEL
    """  # noqa: D301 - click wants the character itself
