"""`fin merge`. The group itself takes a recipe; `search` is a subcommand."""

import json
from pathlib import Path
from typing import Any

import click

from fin_plugins.cli.click_groups import DefaultCommand, DefaultCommandGroup, copy_bundled
from fin_plugins.cli.merge_search import search


@click.group(cls=DefaultCommandGroup, add_help_option=False, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """Merge adapters or checkpoints into one model."""


command.add_command(search)


@command.command("recipe", cls=DefaultCommand)
@click.argument("recipe", required=False)
@click.option("--base", metavar="MODEL", help="Base model of the experts: folder or hub name.")
@click.option("--expert", "experts", multiple=True, metavar="NAME=PATH", help="Adapter or checkpoint; repeatable.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Output folder.")
@click.option("--weight", "weights", multiple=True, metavar="NAME=W", help="Weight of one expert; repeatable.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a parameter: density=0.3; repeatable.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float16", "float32"]), help="[default: the base's]")
@click.option("--seed", default=0, show_default=True, help="Seed of methods that sample.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--as-adapter", is_flag=True, help="Write one adapter instead of a checkpoint.")
@click.option("--rank", type=click.IntRange(min=1), help="With --as-adapter: maximum rank of the result.")
@click.option("--max-residual", type=click.FloatRange(0, 1), help="With --as-adapter: share the rank may leave out.")
@click.option(
    "--max-rounding",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="For a checkpoint: share of the merged change that rounding to --dtype may lose. [default: 0.5; 1: all of it]",
)
@click.option("--any-base", is_flag=True, help="Accept an adapter whose recorded base model is another.")
@click.option("--force", is_flag=True, help="Replace --out if it exists.")
@click.option("--print", "print_recipe", is_flag=True, help="Print the resolved recipe for mergekit-yaml and exit.")
@click.option("--list", "list_recipes", is_flag=True, help="List the bundled recipes.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[FILE]", help="Write RECIPE out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the merge's record, or what the other flags print.")
def _merge(
    recipe: str | None,
    out: Path | None,
    force: bool,
    print_recipe: bool,
    list_recipes: bool,
    copy_to: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Merge adapters or checkpoints of one base by a mergekit recipe.

    RECIPE is a file, or the name of one that ships with the package. Adapters are added to the base in float32,
    mergekit merges in float32, and the result is rounded once, to --dtype; the rounding loss is printed, and more than
    half of the merged change is an error (--max-rounding). Recipe, settings, models, disk and memory are checked before
    any work.

    \b
    Examples:
      fin merge --list
      fin merge task_arithmetic --base BASE --expert sentiment=PATH --expert fomc=PATH --out merged
      fin merge ties --base BASE --expert a=PATH --expert b=PATH --set density=0.3 --weight a=0.7 --out merged
      fin merge task_arithmetic --base BASE --expert a=PATH --expert b=PATH --as-adapter --out merged
      fin merge ties --copy my.yaml                  # then edit it, and: fin merge my.yaml …
      fin merge search --help                        # searches for the weights of a merge of adapters

    DIR gets the checkpoint with the base's tokenizer and chat template, README.md and merge.json. A KEY is one that
    the recipe leaves open, or any parameter of its method; NAME.KEY is for one expert. A VALUE is YAML: a list goes
    from the first layer to the last.
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.common.bundled import MERGE_RECIPES

    if list_recipes:
        click.echo(MERGE_RECIPES.listing(as_json))
        return
    if recipe is None and not copy_to:
        raise click.UsageError("name a recipe; `--list` shows the bundled ones")
    if copy_to is not None:
        copy_bundled(MERGE_RECIPES, "fin merge", recipe, copy_to, suffix=" …")
        return
    _check_options(out, print_recipe, options)
    from fin_plugins.merging.merge_run import MergeRequest, prepare_merge, run_merge

    request = MergeRequest(recipe=str(recipe), **options)
    if print_recipe or out is None:
        from fin_plugins.merging.merge_report import format_recipe

        click.echo(format_recipe(prepare_merge(request).recipe, as_json=as_json), nl=False)
        return
    from fin_plugins.merging.merge_report import format_summary

    record = run_merge(request, out, force=force)
    click.echo(json.dumps(record, indent=1, ensure_ascii=False) if as_json else format_summary(record, out))


def _check_options(out: Path | None, print_recipe: bool, options: dict[str, Any]) -> None:
    if options["base"] is None or not options["experts"]:
        raise click.UsageError("name the models: --base MODEL --expert NAME=PATH …")
    if out is None and not print_recipe:
        raise click.UsageError("name the output folder: --out DIR (or --print the resolved recipe only)")
    if (options["rank"] is not None or options["max_residual"] is not None) and not options["as_adapter"]:
        raise click.UsageError("--rank and --max-residual go with --as-adapter")
    if options["max_rounding"] is not None and options["as_adapter"]:
        raise click.UsageError("--max-rounding is for checkpoints and does not go with --as-adapter")
