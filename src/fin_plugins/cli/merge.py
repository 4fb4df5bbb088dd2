"""`fin merge`. The command itself takes a recipe; other verbs of merging stand below it."""

import json
from pathlib import Path

import click

from fin_plugins.cli.merge_search import search
from fin_plugins.cli.verbs import OrUnnamed, Unnamed


@click.group(cls=OrUnnamed, add_help_option=False, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """From adapters or checkpoints to one merged model."""


command.add_command(search)


@command.command("recipe", cls=Unnamed)
@click.argument("recipe", required=False)
@click.option("--base", metavar="MODEL", help="The model that the experts were trained from: folder or hub name.")
@click.option("--expert", "experts", multiple=True, metavar="NAME=PATH", help="Adapter or checkpoint; repeatable.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the result.")
@click.option("--weight", "weights", multiple=True, metavar="NAME=W", help="Weight of one expert; repeatable.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a parameter: density=0.3; repeatable.")
@click.option("--dtype", type=click.Choice(["bfloat16", "float16", "float32"]), help="[default: the base's]")
@click.option("--seed", default=0, show_default=True, help="For the methods that draw at random.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--as-adapter", is_flag=True, help="Write one adapter instead of a checkpoint.")
@click.option("--rank", type=click.IntRange(min=1), help="With --as-adapter: rank of the result, at most.")
@click.option("--max-residual", type=click.FloatRange(0, 1), help="With --as-adapter: what the rank may leave out.")
@click.option(
    "--max-rounding",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Of a checkpoint: what rounding to --dtype may lose of the merged change. [default: 0.5; 1 for all of it]",
)
@click.option("--any-base", is_flag=True, help="Accept an adapter whose recorded base model is another.")
@click.option("--force", is_flag=True, help="Replace --out if it is there.")
@click.option("--print", "printing", is_flag=True, help="Print the filled-in recipe, which mergekit-yaml takes; stop.")
@click.option("--list", "listing", is_flag=True, help="List the shipped recipes.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[FILE]", help="Write RECIPE out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the merge's record, or what the other flags print.")
def _merge(
    recipe: str | None,
    base: str | None,
    experts: tuple[str, ...],
    out: Path | None,
    weights: tuple[str, ...],
    sets: tuple[str, ...],
    dtype: str | None,
    seed: int,
    device: str,
    as_adapter: bool,
    rank: int | None,
    max_residual: float | None,
    max_rounding: float | None,
    any_base: bool,
    force: bool,
    printing: bool,
    listing: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Merge adapters or checkpoints of one base by a mergekit recipe.

    RECIPE is a file, or the name of one that comes with the package. Adapters are added to the base in float32,
    mergekit merges in float32, and the result is rounded once, to --dtype; what the rounding costs is printed, and more
    than half of the merged change is an error (--max-rounding). Recipe,
    settings, models, disk and memory are checked before any work.

    \b
    Examples:
      fin merge --list
      fin merge task_arithmetic --base BASE --expert sentiment=PATH --expert fomc=PATH --out merged
      fin merge ties --base BASE --expert a=PATH --expert b=PATH --set density=0.3 --weight a=0.7 --out merged
      fin merge task_arithmetic --base BASE --expert a=PATH --expert b=PATH --as-adapter --out merged
      fin merge ties --copy my.yaml                  # then edit it, and: fin merge my.yaml …
      fin merge search --help                        # looks for the weights of a merge of adapters

    DIR gets the checkpoint with the base's tokenizer and chat template, README.md and merge.json. A KEY is one that
    the recipe leaves open, or any parameter of its method; NAME.KEY is for one expert. A VALUE is YAML: a list goes
    from the first layer to the last.
    """  # noqa: D301 (click's mark, not a regex)
    if listing:
        _list(as_json)
        return
    if copy_to and recipe is None:  # `--copy NAME`: what stands behind a flag is its value to click
        recipe, copy_to = copy_to, ""
    if recipe is None:
        raise click.UsageError("name a recipe; `--list` shows those that come with the package")
    if copy_to is not None:
        _copy(recipe, copy_to)
        return
    if base is None or not experts:
        raise click.UsageError("name the models: --base MODEL --expert NAME=PATH …")
    if out is None and not printing:
        raise click.UsageError("name a folder for the result: --out DIR (or --print the filled-in recipe only)")
    if (rank is not None or max_residual is not None) and not as_adapter:
        raise click.UsageError("--rank and --max-residual go with --as-adapter")
    if max_rounding is not None and as_adapter:
        raise click.UsageError("--max-rounding goes with a checkpoint, not with --as-adapter")
    from fin_plugins.merging.run import Asked, merge, prepare

    asked = Asked(
        recipe=recipe,
        base=base,
        experts=experts,
        weights=weights,
        sets=sets,
        dtype=dtype,
        seed=seed,
        device=device,
        any_base=any_base,
        as_adapter=as_adapter,
        rank=rank,
        max_residual=max_residual,
        max_rounding=max_rounding,
    )
    if printing or out is None:
        from fin_plugins.merging.told import printed

        click.echo(printed(prepare(asked).filled, as_json=as_json), nl=False)
        return
    from fin_plugins.merging.told import told

    record = merge(asked, out, force=force)
    click.echo(json.dumps(record, indent=1, ensure_ascii=False) if as_json else told(record, out))


def _list(as_json: bool) -> None:
    from fin_plugins.common.bundled import MERGE_RECIPES

    click.echo(MERGE_RECIPES.listing(as_json))


def _copy(recipe: str, to: str) -> None:
    from fin_plugins.common.bundled import MERGE_RECIPES

    target = MERGE_RECIPES.copy(recipe, to)
    click.echo(f"{target}: edit it, then run `fin merge {target} …`")
