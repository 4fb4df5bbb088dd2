"""`fin board` on 100 models, 8 tasks and 1,000 documents each: reading, statistics, rendering; time and peak memory.

    python benchmarks/board.py                                          # 2 GB of files in a temporary folder, minutes
    python benchmarks/board.py --models 5 --tasks 4 --documents 200     # seconds
    python benchmarks/board.py --files 750                              # the same for 750 and 3,000 result files
    python benchmarks/board.py --labels 3 3 3 29 3 2 2 2                # label sets as large as the real tasks'

Files are made up as lm-eval writes them (`board_files.py`); making them is not timed. All is measured in one process
that does what `fin board --baseline --reference` does, and only that. The ratio: one model on one task, our figures
with intervals against drawing documents again and calling scikit-learn, as `bootstrap.py` has it, in CPU seconds.
With `--files N`: N and 4 N runs in one folder, one task of 20 documents each; what takes four times as long is linear.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from measure import peak_of

HERE = Path(__file__).resolve()
CELL = "cell"
PARTS = ("reading", "statistics", "rendering")


def main() -> None:
    """Make the files, measure in a process of its own, print the table."""
    options = _options()
    if options.side:
        print(json.dumps(_cell(options) if str(options.side) == CELL else _board(options.side, options)))
        return
    if options.files:
        _print_files(options)
        return
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        files, size = _make(Path(folder) / "runs", options)
        what = f"{options.models} models × {options.tasks} tasks × {options.documents:,} documents"
        print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
        print(f"{what}, {options.draws:,} draws: {files:,} files, {size / 1e6:,.0f} MB\n", flush=True)
        _print(_side(folder), _side(CELL), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100, help="runs of all tasks (default 100)")
    parser.add_argument("--tasks", type=int, default=8, help="tasks (default 8)")
    parser.add_argument("--generated", type=int, help="of them answered freely (default: half)")
    parser.add_argument("--documents", type=int, default=1000, help="documents a task (default 1,000)")
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[3], help="sizes of the label sets, in turn (default 3)"
    )
    parser.add_argument("--draws", type=int, default=10_000, help="bootstrap draws (default 10,000)")
    parser.add_argument("--files", type=int, metavar="N", help="measure N and 4 N result files in one folder")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.files:
        options.tasks, options.documents = 1, 20
    options.generated = options.tasks // 2 if options.generated is None else options.generated
    return options


def _print_files(options: argparse.Namespace) -> None:
    """A table of the parts for n and 4 n runs in one folder."""
    many = (options.files, 4 * options.files)
    print(f"| result files | reading | statistics | rendering | peak memory |\n|{'---:|' * 5}")
    sides = []
    for number in many:
        with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
            options.models = number
            _make(Path(folder) / "runs", options)
            sides.append(_side(folder, "--models", str(number)))
        parts = [sides[-1][part] for part in PARTS]
        figures = [f"{part['cpu']:.1f} s" for part in parts]
        print(f"| {number:,} | {' | '.join(figures)} | {parts[-1]['mib']:,.0f} MiB |")
    ratios = [f"{sides[1][part]['cpu'] / sides[0][part]['cpu']:.1f} ×" for part in PARTS]
    print(f"| ratio | {' | '.join(ratios)} | {sides[1][PARTS[-1]]['mib'] / sides[0][PARTS[-1]]['mib']:.1f} × |")


def _make(folder: Path, options: argparse.Namespace) -> tuple[int, int]:
    """Make the files; how many, and their bytes."""
    from board_files import make, make_tasks

    tasks = make_tasks(options.tasks, options.generated, options.documents, options.labels)
    for made, _ in enumerate(make(folder, options.models, tasks, in_one_folder=bool(options.files)), start=1):
        if made % 10 == 0:
            print(f"files of {made} of {options.models} models", file=sys.stderr, flush=True)
    sizes = [file.stat().st_size for file in folder.rglob("*.json*")]
    return len(sizes), sum(sizes)


def _side(what: str, *more: str) -> dict[str, Any]:
    """The same command in a fresh process, whose memory is its own."""
    command = [sys.executable, HERE, *sys.argv[1:], *more, "--side", what]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _board(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Wall and CPU seconds and the peak so far, a part."""
    from fin_plugins.board.published_figures import bundled_published
    from fin_plugins.board.reading.load_runs import load_runs
    from fin_plugins.board.rendering.write_board import write_board
    from fin_plugins.board.statistics.build_board import build_board

    found: dict[str, Any] = {}
    reading = _timed(found, "reading", lambda: load_runs([folder / "runs"]))
    if reading.problems or sum(len(column.entries) for column in reading.columns) != options.models * options.tasks:
        raise SystemExit(f"not all files could be used: {reading.problems[:3]}")
    first = reading.columns[0].entries
    named = {"baseline": first[0].model, "reference": first[1].model if len(first) > 1 else None}
    published = bundled_published()
    made = _timed(
        found,
        "statistics",
        lambda: build_board(reading, **named, unseen=(), published=published, draws=options.draws),
    )
    files = _timed(found, "rendering", lambda: write_board(made, folder / "out"))
    found["files"] = {file.name: file.stat().st_size for file in files}
    return found


def _timed(found: dict[str, Any], part: str, work: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), _cpu()
    done = work()
    found[part] = {
        "wall": time.perf_counter() - wall,
        "cpu": _cpu() - cpu,
        "mib": peak_of(os.getpid()),
        "children": _children(),
    }
    return done


def _cpu() -> float:
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _children() -> float:
    """MiB of the largest process that was started and has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _cell(options: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of one model's figures on one task, ours and scikit-learn's."""
    from bootstrap import DRAWS, pairs, theirs

    labels = options.labels[0]
    gold, said = pairs(labels, options.documents)
    ours = [_ours(gold, said, labels, options.draws, seed) for seed in range(5)]
    return {"ours": median(ours), "theirs": theirs(gold, said) * options.draws / DRAWS}


def _ours(gold: Any, said: Any, labels: int, draws: int, seed: int) -> float:
    import numpy as np

    from fin_plugins.board.board_data import Column, Conditions, Documents, Entry, LoadedRuns, Source
    from fin_plugins.board.statistics.build_board import build_board

    names = tuple(map(str, range(labels)))
    conditions = Conditions("real", "r", "1.0", "p", 0, True, None)
    documents = Documents(tuple(map(str, range(len(gold)))), gold.astype(np.int64), said.astype(np.int64))
    source = Source("made up", 0.0, "", "")
    entry = Entry("m", None, "t", "choice", True, names, len(gold), {}, documents, conditions, source)
    column = Column("t", "t", "t", "choice", True, conditions, "", (entry,))
    start = time.process_time()
    build_board(
        LoadedRuns((column,), (), ()), baseline=None, reference=None, unseen=(), published=(), draws=draws, seed=seed
    )
    return time.process_time() - start


def _print(board: dict[str, Any], cell: dict[str, float], options: argparse.Namespace) -> None:
    print("| what | wall | CPU | peak memory by then |\n|---|---:|---:|---:|")
    parts = [board[part] for part in PARTS]
    for name, part in zip(PARTS, parts, strict=True):
        beside = f" + {part['children']:,.0f} a worker" if part["children"] else ""
        print(f"| {name} | {part['wall']:.1f} s | {part['cpu']:.1f} s | {part['mib']:,.0f} MiB{beside} |")
    wall, cpu = (sum(part[what] for part in parts) for what in ("wall", "cpu"))
    print(
        f"| all (target 20 s, 2,048 MiB; statistics 5 s) | {wall:.1f} s | {cpu:.1f} s | {parts[-1]['mib']:,.0f} MiB |"
    )
    ratio = cell["theirs"] / cell["ours"]
    print(
        f"\none cell, {options.draws:,} draws: {cell['ours']:.3f} s CPU; scikit-learn {cell['theirs']:.1f} s, ", end=""
    )
    print(f"{ratio:,.0f} × as long (target 100)")
    print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in board["files"].items()))


if __name__ == "__main__":
    main()
