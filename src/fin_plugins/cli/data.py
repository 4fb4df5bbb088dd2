"""`fin data`: fetch, check and show the real data sets."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fin_plugins.cli.click_groups import SuggestingGroup

if TYPE_CHECKING:
    from fin_plugins.data.builders import BuildResult
    from fin_plugins.data.sources import Dataset

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.group("data", cls=SuggestingGroup, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Fetch, check and show the real data sets.

    Data is stored in FIN_DATA_DIR, by default the user's cache folder. FIN_DATA=sample makes tasks use the embedded
    rows instead. A data set is named by its task (fin_fomc) or its short name (fomc).

    \b
    Examples:
      fin data fetch                           # all data sets, from their pinned public addresses
      fin data fetch fin_fomc --mirror ./copy  # one of them, from a folder of copies
      fin data status
      fin data show fin_fomc --split train -n 5
      fin data card fin_fomc                   # licence, sources, counts, floor
      fin data leaks fin_finred fin_finred_paper
    """  # noqa: D301 (Click's mark, not a regex)


def _select(tasks: Sequence[str]) -> "list[Dataset]":
    from fin_plugins.data.sources import datasets, find

    return [find(name) for name in dict.fromkeys(tasks)] or list(datasets().values())


@command.command()
@click.argument("task", nargs=-1)
@click.option("--mirror", type=click.Path(path_type=Path), help="Folder of copies: <owner>/<repo>/<commit>/<path>.")
def fetch(task: tuple[str, ...], mirror: Path | None) -> None:
    """Fetch TASKs (default: all), check every file's sha256 and build the splits.

    Complete files are not fetched again, so an interrupted fetch resumes.

    \b
    Examples:
      fin data fetch
      fin data fetch fin_fomc fin_fpb
      fin data fetch --mirror /mnt/copies
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.common import console
    from fin_plugins.data import builders, download
    from fin_plugins.data.dataset_store import data_dir, ensure_writable

    selected = _select(task)
    download.check_mirror(mirror)
    ensure_writable(data_dir())
    for dataset in selected:
        console.say(f"{dataset.task}: licence as stated upstream: {dataset.licence}; from {dataset.upstream}")
    sources = download.raw_files(selected)
    title = f"fetching {len(sources)} files from {mirror or 'the public addresses'}"
    with download.download_progress(sum(source.bytes for source in sources), title) as on_bytes:
        download.fetch_raw(selected, mirror, on_bytes, download.say_file)
    for dataset in selected:
        console.say(_built_line(builders.build_if_needed(dataset)))
    console.say(f"data is in {data_dir()}")


def _built_line(built: "BuildResult") -> str:
    from fin_plugins.data.data_cards import matches_bundled_card
    from fin_plugins.data.sources import LEAKY_BY_DESIGN

    rows = ", ".join(f"{split} {rows:,}" for split, rows in built.manifest.rows.items())
    dropped = sum(built.manifest.before.values()) - sum(built.manifest.rows.values())
    cleaning = (
        "leaks by design, not cleaned" if built.dataset.key in LEAKY_BY_DESIGN else f"{dropped} dropped in cleaning"
    )
    state = "built" if built.fresh else "already built"
    warning = "" if matches_bundled_card(built.dataset, built.manifest) else "; WARNING: rows differ from the data card"
    return f"{built.dataset.task}: {state}: {rows} ({cleaning}){warning}"


@command.command()
@click.argument("task", nargs=-1)
@_AS_JSON
def status(task: tuple[str, ...], as_json: bool) -> None:
    """Show which of TASKs (default: all data sets) are fetched, with their counts, hashes and licences.

    \b
    Examples:
      fin data status
      fin data status fin_fomc
      fin data status --json | jq '.data_sets.fin_fomc'
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.data.dataset_store import data_dir

    states = {dataset.task: _state(dataset) for dataset in _select(task)}
    if as_json:
        data = {"data_dir": str(data_dir()), "fin_data": os.environ.get("FIN_DATA") or "real", "data_sets": states}
        click.echo(json.dumps(data, indent=1, ensure_ascii=False))
        return
    click.echo(f"data folder: {data_dir()}")
    for name, state in states.items():
        click.echo(f"\n{name}: {state['state']} · {state['licence']}")
        for split, rows in state["rows"].items():
            click.echo(f"  {split:<10} {rows:>6,} rows   sha256 {state['hashes'][split][:16]}…")


def _state(dataset: "Dataset") -> dict[str, Any]:
    from fin_plugins.data import dataset_store
    from fin_plugins.data.data_cards import matches_bundled_card

    manifest = dataset_store.current_manifest(dataset)
    about = {"licence": dataset.licence, "upstream": dataset.upstream}
    if manifest is None:
        return {"state": "not fetched", **about, "rows": {}, "hashes": {}}
    state = "there" if matches_bundled_card(dataset, manifest) else "there, but rows differ from the data card"
    return {"state": state, **about, "before": manifest.before, "rows": manifest.rows, "hashes": manifest.hashes}


@command.command()
@click.argument("task")
@click.option("--split", default="test", show_default=True, help="train, validation, fewshot or test.")
@click.option("-n", "number", default=5, show_default=True, type=click.IntRange(min=1), help="Rows to print.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
def show(task: str, split: str, number: int, as_json: bool) -> None:
    """Print the first rows of a split of TASK (the embedded rows if FIN_DATA=sample).

    \b
    Examples:
      fin data show fin_fomc --split train -n 5
      FIN_DATA=sample fin data show fin_deal --split fewshot --json
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.common.errors import FinError
    from fin_plugins.data.dataset_rows import read_rows

    rows = read_rows(task)
    if split not in rows.splits:
        raise FinError(f"fin_{rows.name}: no split {split}; there are " + ", ".join(rows.splits))
    if rows.data_mode == "sample":
        click.echo("these are embedded sample rows (FIN_DATA=sample), not the data set", err=True)
    for row in rows.splits[split].head(number).to_dict("records"):
        entities = f" ({row['e1']} → {row['e2']})" if "e1" in row else ""
        plain = f"{row['id']}  [{row['label']}]{entities}  {' '.join(row['text'].split())}"
        click.echo(json.dumps(row, ensure_ascii=False) if as_json else plain)


@command.command()
@click.argument("task", nargs=-1)
@_AS_JSON
def leaks(task: tuple[str, ...], as_json: bool) -> None:
    """Count the test rows of TASKs (default: all) that are in train too, before and after the default cleaning.

    Exact: equal after NFKC, white-space and case folding; near: not equal, but with a Jaccard similarity of character
    5-grams of 0.8 or more. Needs the fetched raw files.

    \b
    Examples:
      fin data leaks
      fin data leaks fin_finred fin_finred_paper --json
    """  # noqa: D301 (Click's mark, not a regex)
    from fin_plugins.data import builders, download
    from fin_plugins.data import decontamination as counting
    from fin_plugins.data.data_cards import format_leak_counts
    from fin_plugins.data.dataset_store import raw_dir

    selected = _select(task)
    for dataset in selected:
        download.require_raw(dataset)
    counts_by_task = {}
    for dataset in selected:
        counts_by_task[dataset.task] = asdict(counting.count_leaks(*builders.build_splits(dataset, raw_dir())))
        if not as_json:
            click.echo(f"{dataset.task:<17} {format_leak_counts(counts_by_task[dataset.task])}")
    if as_json:
        click.echo(json.dumps(counts_by_task, indent=1))
    elif any(counts["near_after"] > counts["near_before"] for counts in counts_by_task.values()):
        click.echo(counting.NEAR_INCREASE_NOTE)


@command.command()
@click.argument("task", nargs=-1)
@_AS_JSON
@click.option("--mirror", type=click.Path(path_type=Path, exists=True), hidden=True, help="With --write: raw files.")
@click.option("--write", type=click.Path(path_type=Path, exists=True), hidden=True, help="Write new cards there.")
def card(task: tuple[str, ...], as_json: bool, mirror: Path | None, write: Path | None) -> None:
    """Print the data cards of TASKs (default: all): sources, licence, splits, labels, floor, leaks.

    \b
    Examples:
      fin data card fin_fomc
      fin data card fin_fomc --json | jq '.fin_fomc.splits.test.labels'
    """  # noqa: D301 (Click's mark, not a regex)
    selected = _select(task)
    if write is not None:
        from fin_plugins.data.data_cards import build_card, write_card

        for dataset in selected:
            click.echo(write_card(build_card(dataset.key, mirror), write))
        return
    from fin_plugins.data.data_cards import bundled_card, format_card

    cards = {dataset.task: bundled_card(dataset.key) for dataset in selected}
    text = json.dumps(cards, indent=1, ensure_ascii=False) if as_json else "\n\n".join(map(format_card, cards.values()))
    click.echo(text)
