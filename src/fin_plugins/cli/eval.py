"""`fin eval`: lm-eval's own command line, with our task folder handed over the official way."""

import click


@click.command(
    "eval",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run lm-eval with the fin tasks. Every argument is lm-eval's own.

    No start-up file is needed for this: the task folder goes in as `--include_path`, beside yours if you give one.

    \b
    Examples:
      fin eval --tasks fin_unseen --model hf --model_args pretrained=MODEL --apply_chat_template
      fin eval ls tasks
    """  # noqa: D301 (click's mark, not a regex)
    if not arguments:
        click.echo(click.get_current_context().get_help())
        return
    from fin_plugins.tasks.harness import run_lm_eval

    run_lm_eval(list(arguments))
