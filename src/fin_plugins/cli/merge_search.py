"""`fin merge search`."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from fin_plugins.common.formatting import duration

if TYPE_CHECKING:
    from fin_plugins.merging.search.read import Configured
    from fin_plugins.merging.search.run import Found, Progress
    from fin_plugins.merging.search.study import Candidate


@click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key, as rows=50; repeatable.")
@click.option("--out", "output", metavar="DIR", help="Folder of the study. [default: results/search/ and FILE's name]")
@click.option("--dry-run", is_flag=True, help="Check all, score the base, say how long the search would take; stop.")
@click.option("--fresh", is_flag=True, help="Throw away the study that is there, instead of going on with it.")
@click.option("--list", "listing", is_flag=True, help="List the shipped search files.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[TO]", help="Write FILE out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def search(
    file: str | None,
    settings: tuple[str, ...],
    output: str | None,
    dry_run: bool,
    fresh: bool,
    listing: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Look for the weights of a merge of adapters.

    FILE is a search file, or the name of one that comes with the package. Candidates are weighted sums of the experts
    on one running engine: no checkpoint is written. Each is scored on validation rows of the experts' tasks, whole and
    without each expert in turn, and compared with the base on unlabelled prompts. Test rows and unseen tasks cannot be
    read meanwhile.

    \b
    Examples:
      fin merge search pair --copy my.yaml           # then edit it, and:
      fin merge search my.yaml --dry-run
      fin merge search my.yaml
      fin merge search my.yaml --set sampler=cma --set candidates=40 --out results/search/cma

    The same command started again goes on where a stopped search was; with more candidates it goes on further. The
    folder gets study.jsonl (a line a candidate), study.md, pareto.svg, and best/, the best merge as one adapter.
    """  # noqa: D301 (click's mark, not a regex)
    if listing:
        _list(as_json)
        return
    if copy_to is not None:
        _copy(file, copy_to)
        return
    if file is None:
        raise click.UsageError("name a search file or a shipped one; `--list` shows those")
    from fin_plugins.merging.search.read import read_search

    read = read_search(file, [*settings, *([f"output={json.dumps(output)}"] if output is not None else [])])
    try:
        # What libraries print on the way may not stand in front of the JSON.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            text = _estimated(read, as_json) if dry_run else _searched(read, fresh, as_json)
    except KeyboardInterrupt:
        click.echo("fin merge search: stopped; the same command goes on from there", err=True)
        sys.exit(130)  # as a shell has it for Ctrl-C
    click.echo(text)


def _list(as_json: bool) -> None:
    from fin_plugins.common.bundled import MERGE_SEARCHES

    click.echo(MERGE_SEARCHES.listing(as_json))


def _copy(file: str | None, to: str) -> None:
    from fin_plugins.cli.copying import copy_out
    from fin_plugins.common.bundled import MERGE_SEARCHES

    copy_out(MERGE_SEARCHES.copy, "fin merge search", file, to)


def _estimated(read: "Configured", as_json: bool) -> str:
    from fin_plugins.merging.search.run import estimate

    found = estimate(read)
    if as_json:
        return json.dumps(vars(found), ensure_ascii=False)
    mean = sum(found.base.values()) / len(found.base)
    minutes = found.seconds * found.candidates / 60
    return (
        f"{found.candidates} candidates, {found.passes} rows and prompts each at most; the base scores {mean:.3f}\n"
        f"about {found.seconds:.1f} s a candidate, {minutes:.1f} min in all; nothing was written"
    )


def _searched(read: "Configured", fresh: bool, as_json: bool) -> str:
    from fin_plugins.merging.search.run import search as run

    found = run(read, fresh=fresh, shown=_shown)
    return json.dumps(_plain(found), indent=1, ensure_ascii=False) if as_json else _told(found)


@contextmanager
def _shown(count: int) -> "Iterator[Progress]":
    from fin_plugins.merging.progress import shown

    if sys.stderr.isatty():
        with shown("candidates") as bar:
            yield lambda done, last: bar(done, count)
    else:
        yield _lines(count)


def _lines(count: int) -> "Progress":
    """A line a candidate: a job's log shows how the search goes."""
    began: list[tuple[float, int]] = []

    def tell(done: int, last: "Candidate | None") -> None:
        if last is None:
            began.append((time.monotonic(), done))
            return
        start, before = began[0]
        left = (time.monotonic() - start) / (done - before) * (count - done)
        figures = f"seen {last.seen.value:.3f}, left out {last.leave_out.value:+.3f}, divergence"
        line = f"{done} of {count}: {figures} {last.divergence.value:.3f}; {duration(left)} left"
        print(f"fin merge search: {line}", file=sys.stderr, flush=True)

    return tell


def _plain(found: "Found") -> dict[str, Any]:
    from fin_plugins.merging.search import choice

    candidates = found.study.candidates
    return {
        "folder": str(found.folder),
        "sample": found.sample,
        "candidates": len(candidates),
        "base": found.study.base,
        "best": found.best.model_dump() if found.best else None,
        "nearest": None if found.best else choice.nearest(candidates, found.config.floor).model_dump(),
        "front": [one.candidate for one in choice.front(candidates)],
        "seconds_a_candidate": found.seconds,
    }


def _told(found: "Found") -> str:
    from fin_plugins.merging.search.report import SAMPLE, outcome

    base = found.study.base or {}
    lines = [f"{found.folder}: {len(found.study.candidates)} candidates; base {sum(base.values()) / len(base):.3f}"]
    lines.append(f"  {outcome(found.config.floor, found.study)}")
    lines += [f"  {SAMPLE}"] if found.sample else []
    lines += [f"  {found.seconds:.1f} s a candidate"] if found.seconds is not None else []
    lines.append("  study.md has all of them, pareto.svg shows them, study.jsonl is what the search goes on from")
    path = found.folder / "best"
    if path.is_dir():
        lines.append(f"next: fin eval --model fin_hf --model_args pretrained=BASE --adapter best={path} --tasks …")
    return "\n".join(lines)
