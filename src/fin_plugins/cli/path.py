"""`fin path`."""

import click

from fin_plugins.common.locations import task_folder


@click.command("path")
def command() -> None:
    """Print the folder of task files.

    \b
    For an lm-eval that does not find the tasks by itself (start-up file switched off):
      lm_eval --tasks fin_unseen --include_path "$(fin path)" --model …
    """  # noqa: D301 (click's mark, not a regex)
    click.echo(task_folder())
