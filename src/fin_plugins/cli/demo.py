"""`fin demo`."""

from pathlib import Path

import click


@click.command("demo")
@click.option(
    "--engine", type=click.Choice(["vllm", "hf"]), default="vllm", show_default=True, help="lm-eval model class"
)
@click.option("--tasks", default="fin_unseen", show_default=True, help="any of lm-eval's task names, comma-separated")
@click.option(
    "--output", type=click.Path(path_type=Path), default="results/demo", show_default=True, help="where results go"
)
def command(engine: str, tasks: str, output: Path) -> None:
    """Run the unseen tasks on a small real model (SmolLM2-135M-Instruct) with the embedded sample rows.

    Needs no GPU, no account and no network. The first run converts the model into the user cache. The scores are no
    benchmark: the rows were written by this project, and 24 rows a task make wide error bars.
    """
    from fin_plugins.demo.run import run_demo

    click.echo(
        "Demo model: SmolLM2-135M-Instruct (Apache-2.0), converted once into the user cache; vLLM needs a minute to start."
    )
    files = run_demo(engine, tasks, output)
    click.echo("\nResult files (lm-eval's own format):")
    for file in files:
        click.echo(f"  {file}")
    click.echo("\nThese were sample rows. Next, real data (fetched once, about 15 MB):")
    click.echo(
        f"  fin data fetch && lm_eval --tasks {tasks} --model {engine} --model_args pretrained=MODEL --apply_chat_template"
    )
