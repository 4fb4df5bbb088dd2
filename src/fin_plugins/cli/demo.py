"""`fin demo`."""

from pathlib import Path

import click

_START = """\
Demo model: SmolLM2-135M-Instruct (Apache-2.0), converted once into the user cache.
vLLM needs a minute to start on a machine without a GPU; lm-eval then shows its progress."""

_READING = """\
How to read the table: each value is a share between 0 and 1 (mcc: -1 to 1) over the 24 rows of a task, ± its standard
error. A model that knows nothing and always gives the commonest label scores about 0.5 in acc, 0.33 in weighted_f1 and
macro_f1 and 0 in mcc on these two-label tasks; values within two standard errors of that say nothing."""


@click.command("demo")
@click.option("--engine", type=click.Choice(["vllm", "hf"]), default="vllm", show_default=True, help="Model class.")
@click.option("--tasks", default="fin_unseen", show_default=True, help="Any of lm-eval's task names, comma-separated.")
@click.option(
    "--out",
    "output",
    type=click.Path(path_type=Path),
    default="results/demo",
    show_default=True,
    help="For results.",
)
@click.option("--model-path", is_flag=True, help="Print the small model's folder, for pretrained=, and run nothing.")
def command(engine: str, tasks: str, output: Path, model_path: bool) -> None:
    """Run the unseen tasks on a small real model (SmolLM2-135M-Instruct) with the embedded sample rows.

    Needs no GPU, no account and no network. The first run converts the model into the user cache. The scores are no
    benchmark: the rows were written by this project, and 24 rows a task make wide error bars.

    \b
    Examples:
      fin demo
      fin eval --tasks my_task --include_path . --model fin_hf --model_args pretrained=$(fin demo --model-path)
    """  # noqa: D301 - click wants the character itself
    from fin_plugins.demo.model import demo_model
    from fin_plugins.demo.run import make_board, next_command, run_demo

    if model_path:
        click.echo(demo_model())
        return
    click.echo(_START)
    files = run_demo(engine, tasks, output)
    click.echo(f"\n{_READING}")
    click.echo("\nResult files, in lm-eval's own format:")
    for file in files:
        click.echo(f"  {file}")
    click.echo(f"Board of these results (`fin board`), with intervals and floors:\n  {make_board(output)}")
    click.echo(
        "\nThese were sample rows: the scores are no benchmark. Next, the real rows (17 MB, fetched once from their\n"
        "public addresses; put your own model behind pretrained=):\n"
        f"  {next_command(engine, tasks, output.with_name('real'))}"
    )
