"""`fin demo`."""

from pathlib import Path

import click

_START = """\
Demo model: SmolLM2-135M-Instruct (Apache-2.0), converted once into the user cache.
vLLM needs a minute to start on a machine without a GPU; then lm-eval shows its progress."""

_HOW_TO_READ = """\
How to read the table: each value is between 0 and 1 (mcc: -1 to 1), over the 24 rows of a task, ± its standard error.
A model that always answers the most frequent label scores about 0.5 in acc, 0.33 in weighted_f1 and macro_f1 and 0 in
mcc on these two-label tasks; values within two standard errors of that mean nothing."""


@click.command("demo")
@click.option("--engine", type=click.Choice(["vllm", "hf"]), default="vllm", show_default=True, help="Model class.")
@click.option("--tasks", default="fin_unseen", show_default=True, help="Task names of lm-eval, comma-separated.")
@click.option(
    "--out",
    "output",
    type=click.Path(path_type=Path),
    default="results/demo",
    show_default=True,
    help="Folder for results.",
)
@click.option("--model-path", is_flag=True, help="Print the small model's folder, for pretrained=, and exit.")
def command(engine: str, tasks: str, output: Path, model_path: bool) -> None:
    """Run the unseen tasks on a small real model (SmolLM2-135M-Instruct) with the embedded sample rows.

    Needs no GPU, no account and no network. The first run converts the model into the user cache. The scores are not
    comparable with others: the rows were written by this project, and 24 rows per task give wide error bars.

    \b
    Examples:
      fin demo
      fin eval --tasks my_task --include_path . --model fin_hf --model_args pretrained=$(fin demo --model-path)
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.demo import demo_model, make_board, next_command, run_demo

    if model_path:
        click.echo(demo_model())
        return
    click.echo(_START)
    files = run_demo(engine, tasks, output)
    click.echo(f"\n{_HOW_TO_READ}")
    click.echo("\nResult files, in lm-eval's own format:")
    for file in files:
        click.echo(f"  {file}")
    click.echo(f"Board of these results (`fin board`), with intervals and floors:\n  {make_board(output)}")
    click.echo(
        "\nThese were sample rows: the scores are not comparable with others. Next, the real rows (17 MB, fetched\n"
        "once from their public addresses; put your own model after pretrained=):\n"
        f"  {next_command(engine, tasks, output.with_name('real'))}"
    )
