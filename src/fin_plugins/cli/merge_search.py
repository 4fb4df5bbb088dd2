"""`fin merge search`."""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from fin_plugins.cli.click_groups import copy_bundled
from fin_plugins.common.bundled import MERGE_SEARCHES
from fin_plugins.common.console import say
from fin_plugins.common.formatting import duration
from fin_plugins.common.progress import progress

if TYPE_CHECKING:
    from fin_plugins.merging.search.search_config import SearchFile
    from fin_plugins.merging.search.search_run import Progress, SearchResult
    from fin_plugins.merging.search.study import Candidate


@click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key, such as rows=50; repeatable."
)
@click.option("--out", "output", metavar="DIR", help="Folder of the study. [default: results/search/ and FILE's name]")
@click.option("--dry-run", is_flag=True, help="Check all, score the base, estimate the time, and exit.")
@click.option("--fresh", is_flag=True, help="Discard the existing study instead of resuming it.")
@click.option("--list", "list_searches", is_flag=True, help="List the bundled search files.")
@click.option("--copy", "copy_to", is_flag=False, flag_value="", metavar="[TO]", help="Write FILE out, to edit it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def search(
    file: str | None,
    settings: tuple[str, ...],
    output: str | None,
    dry_run: bool,
    fresh: bool,
    list_searches: bool,
    copy_to: str | None,
    as_json: bool,
) -> None:
    """Search for the weights of a merge of adapters.

    FILE is a search file, or the name of one that ships with the package. Candidates are weighted sums of the experts
    on one running engine: no checkpoint is written. Each is scored on validation rows of the experts' tasks, with all
    experts and without each in turn, and compared with the base on unlabelled prompts. Test rows and unseen tasks
    cannot be read meanwhile.

    \b
    Examples:
      fin merge search pair --copy my.yaml           # then edit it, and:
      fin merge search my.yaml --dry-run
      fin merge search my.yaml
      fin merge search my.yaml --set sampler=cma --set candidates=40 --out results/search/cma

    Running the same command again resumes a stopped search; with more candidates it extends a finished one. The folder
    gets study.jsonl (a line per candidate), study.md, pareto.svg, and best/, the best merge as one adapter.
    """  # noqa: D301 (Click's mark, not a regex)
    if list_searches:
        click.echo(MERGE_SEARCHES.listing(as_json))
        return
    if copy_to is not None:
        copy_bundled(MERGE_SEARCHES, "fin merge search", file, copy_to)
        return
    if file is None:
        raise click.UsageError("name a search file; `--list` shows the bundled ones")
    from fin_plugins.merging.search.search_config import read_search

    read = read_search(file, [*settings, *([f"output={json.dumps(output)}"] if output is not None else [])])
    try:
        # Output of libraries must not precede the JSON.
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            text = _estimate_text(read, as_json) if dry_run else _result_text(read, fresh, as_json)
    except KeyboardInterrupt:
        say("stopped; run the same command again to resume")
        sys.exit(130)  # the shell's status for Ctrl-C
    click.echo(text)


def _estimate_text(read: "SearchFile", as_json: bool) -> str:
    from fin_plugins.merging.search.search_run import estimate_search

    estimate = estimate_search(read)
    if as_json:
        return json.dumps(vars(estimate), ensure_ascii=False)
    mean = sum(estimate.base.values()) / len(estimate.base)
    minutes = estimate.seconds * estimate.candidates / 60
    return (
        f"{estimate.candidates} candidates, {estimate.passes} rows and prompts each at most; "
        f"score of the base: {mean:.3f}\n"
        f"about {estimate.seconds:.1f} s per candidate, {minutes:.1f} min in all; nothing was written"
    )


def _result_text(read: "SearchFile", fresh: bool, as_json: bool) -> str:
    from fin_plugins.merging.search.search_run import run_search as run

    result = run(read, fresh=fresh, display=_show_progress)
    return json.dumps(_as_data(result), indent=1, ensure_ascii=False) if as_json else _summary(result)


@contextmanager
def _show_progress(count: int) -> "Iterator[Progress]":
    """A bar on a terminal; elsewhere a line per candidate, so that the log of a job shows the progress."""
    start = done_before = 0.0

    def on_candidate(done: int, last: "Candidate | None") -> None:
        nonlocal start, done_before
        bar.update(done)
        if last is None:
            start, done_before = time.monotonic(), done
            return
        if not sys.stderr.isatty():
            left = (time.monotonic() - start) / (done - done_before) * (count - done)
            figures = f"seen {last.seen.value:.3f}, left out {last.leave_out.value:+.3f}, divergence"
            say(f"{done} of {count}: {figures} {last.divergence.value:.3f}; {duration(left)} left")

    with progress("candidates", count, interval=math.inf) as bar:
        yield on_candidate


def _as_data(result: "SearchResult") -> dict[str, Any]:
    from fin_plugins.merging.search import study

    candidates = result.study.candidates
    return {
        "folder": str(result.folder),
        "sample": result.sample,
        "candidates": len(candidates),
        "base": result.study.base,
        "best": result.best.model_dump() if result.best else None,
        "nearest": None if result.best else study.nearest_candidate(candidates, result.config.floor).model_dump(),
        "front": [candidate.candidate for candidate in study.pareto_front(candidates)],
        "seconds_a_candidate": result.seconds,
    }


def _summary(result: "SearchResult") -> str:
    from fin_plugins.merging.search.study_report import SAMPLE_WARNING, format_outcome

    base = result.study.base or {}
    lines = [f"{result.folder}: {len(result.study.candidates)} candidates; base {sum(base.values()) / len(base):.3f}"]
    lines.append(f"  {format_outcome(result.config.floor, result.study)}")
    lines += [f"  {SAMPLE_WARNING}"] if result.sample else []
    lines += [f"  {result.seconds:.1f} s per candidate"] if result.seconds is not None else []
    lines.append("  study.md lists all candidates, pareto.svg plots them, study.jsonl lets the search resume")
    path = result.folder / "best"
    if path.is_dir():
        lines.append(f"next: fin eval --model fin_hf --model_args pretrained=BASE --adapter best={path} --tasks …")
    return "\n".join(lines)
