"""`fin board` on 100 models, 8 tasks and 1,000 documents each: time and peak memory of reading, statistics, rendering.

    python benchmarks/board.py                                          # 2 GB of files in a temporary folder, minutes
    python benchmarks/board.py --models 5 --tasks 4 --documents 200     # seconds
    python benchmarks/board.py --files 750                              # scaling: 750 and 3,000 result files
    python benchmarks/board.py --labels 3 3 3 29 3 2 2 2                # label sets as large as the real tasks'

`board_files.py` generates files in lm-eval's format; that is not timed. One process measures exactly what
`fin board --baseline --reference` does. The ratio compares, for one model on one task, the CPU seconds of our figures
with intervals and of resampling documents with scikit-learn (`bootstrap.py`).
`--files N` measures N and 4 N runs in one folder, with one task of 20 documents each: a linear part takes four times as
long.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measure import (
    argument_parser,
    machine_summary,
    peak_memory_of,
    print_progress,
    print_row,
    report_result,
    run_worker,
)

PARTS = ("reading", "statistics", "rendering")


def main() -> None:
    """Generate the files, measure in a separate process, print the table."""
    options = _parse_options()
    if options.worker:
        job = argparse.Namespace(**json.loads(options.worker))
        report_result(_measure_board(job) if job.folder else _measure_cell(job))
    elif options.files:
        _print_scaling(options)
    else:
        with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
            files, size = _write_files(Path(folder) / "runs", options)
            grid = f"{options.models} models × {options.tasks} tasks × {options.documents:,} documents"
            print(f"{machine_summary()}\n")
            print(f"{grid}, {options.draws:,} draws: {files:,} files, {size / 1e6:,.0f} MB\n", flush=True)
            _print_table(_run_worker(options, folder), _run_worker(options, None), options)


def _parse_options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--models", type=int, default=100, help="runs, each of all tasks (default 100)")
    parser.add_argument("--tasks", type=int, default=8, help="tasks (default 8)")
    parser.add_argument("--generated", type=int, help="generative ones among them (default: half)")
    parser.add_argument("--documents", type=int, default=1000, help="documents per task (default 1,000)")
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[3], help="sizes of the label sets, used in turn (default 3)"
    )
    parser.add_argument("--draws", type=int, default=10_000, help="bootstrap draws (default 10,000)")
    parser.add_argument("--files", type=int, metavar="N", help="measure N and 4 N result files in one folder")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.files:
        options.tasks, options.documents = 1, 20
    options.generated = options.tasks // 2 if options.generated is None else options.generated
    return options


def _print_scaling(options: argparse.Namespace) -> None:
    """Print a table of the parts for N and 4 N runs in one folder."""
    print(f"| result files | reading | statistics | rendering | peak memory |\n|{'---:|' * 5}")
    results = []
    for count in (options.files, 4 * options.files):
        options.models = count
        with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
            _write_files(Path(folder) / "runs", options)
            results.append(_run_worker(options, folder))
        parts = [results[-1][part] for part in PARTS]
        print_row(f"{count:,}", *(f"{part['cpu']:.1f} s" for part in parts), f"{parts[-1]['mib']:,.0f} MiB")
    small, large = results
    ratios = [f"{large[part]['cpu'] / small[part]['cpu']:.1f} ×" for part in PARTS]
    print_row("ratio", *ratios, f"{large[PARTS[-1]]['mib'] / small[PARTS[-1]]['mib']:.1f} ×")


def _write_files(folder: Path, options: argparse.Namespace) -> tuple[int, int]:
    """Generate the files; returns their number and their size in bytes."""
    from board_files import make_tasks, write_runs

    tasks = make_tasks(options.tasks, options.generated, options.documents, options.labels)
    runs = write_runs(folder, options.models, tasks, in_one_folder=bool(options.files))
    for count, _ in enumerate(runs, start=1):
        if count % 10 == 0:
            print_progress(f"files of {count} of {options.models} models")
    sizes = [file.stat().st_size for file in folder.rglob("*.json*")]
    return len(sizes), sum(sizes)


def _run_worker(options: argparse.Namespace, folder: str | None) -> dict[str, Any]:
    """Measure the board of a folder, or a single cell without one, in a process with its own memory."""
    return run_worker(__file__, vars(options) | {"folder": folder})


def _measure_board(job: argparse.Namespace) -> dict[str, Any]:
    """Wall and CPU seconds and peak memory so far, per part."""
    from fin_plugins.board.published_figures import bundled_published
    from fin_plugins.board.reading.load_runs import load_runs
    from fin_plugins.board.rendering.write_board import write_board
    from fin_plugins.board.statistics.build_board import build_board

    figures: dict[str, Any] = {}
    folder = Path(job.folder)
    runs = _measure_part(figures, "reading", lambda: load_runs([folder / "runs"]))
    if runs.problems or sum(len(column.entries) for column in runs.columns) != job.models * job.tasks:
        raise SystemExit(f"some files could not be used: {runs.problems[:3]}")
    entries = runs.columns[0].entries
    models = {"baseline": entries[0].model, "reference": entries[1].model if len(entries) > 1 else None}
    published = bundled_published()
    board = _measure_part(
        figures,
        "statistics",
        lambda: build_board(runs, **models, unseen=(), published=published, draws=job.draws),
    )
    files = _measure_part(figures, "rendering", lambda: write_board(board, folder / "out"))
    figures["files"] = {file.name: file.stat().st_size for file in files}
    return figures


def _measure_part(figures: dict[str, Any], part: str, work: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), _cpu_seconds()
    result = work()
    figures[part] = {
        "wall": time.perf_counter() - wall,
        "cpu": _cpu_seconds() - cpu,
        "mib": peak_memory_of(os.getpid()),
        "children": _peak_child_memory(),
    }
    return result


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_child_memory() -> float:
    """MiB of the largest child process that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _measure_cell(job: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of one model's figures on one task, ours and scikit-learn's."""
    from bootstrap import DRAWS, random_answers, resampling_seconds

    labels = job.labels[0]
    gold, answers = random_answers(labels, job.documents)
    seconds = [_cell_seconds(gold, answers, labels, job.draws, seed) for seed in range(5)]
    return {"ours": median(seconds), "scikit-learn": resampling_seconds(gold, answers) * job.draws / DRAWS}


def _cell_seconds(gold: Any, answers: Any, labels: int, draws: int, seed: int) -> float:
    import numpy as np

    from fin_plugins.board.board_data import Column, Conditions, Documents, Entry, LoadedRuns, Source
    from fin_plugins.board.statistics.build_board import build_board

    names = tuple(map(str, range(labels)))
    conditions = Conditions("real", "r", "1.0", "p", 0, True, None)
    documents = Documents(tuple(map(str, range(len(gold)))), gold.astype(np.int64), answers.astype(np.int64))
    source = Source("generated", 0.0, "", "")
    entry = Entry("m", None, "t", "choice", True, names, len(gold), {}, documents, conditions, source)
    column = Column("t", "t", "t", "choice", True, conditions, "", (entry,))
    start = time.process_time()
    build_board(
        LoadedRuns((column,), (), ()), baseline=None, reference=None, unseen=(), published=(), draws=draws, seed=seed
    )
    return time.process_time() - start


def _print_table(board: dict[str, Any], cell: dict[str, float], options: argparse.Namespace) -> None:
    print("| part | wall | CPU | peak memory so far |\n|---|---:|---:|---:|")
    parts = [board[part] for part in PARTS]
    for name, part in zip(PARTS, parts, strict=True):
        workers = f" + {part['children']:,.0f} per worker" if part["children"] else ""
        print_row(name, f"{part['wall']:.1f} s", f"{part['cpu']:.1f} s", f"{part['mib']:,.0f} MiB{workers}")
    wall, cpu = (sum(part[clock] for part in parts) for clock in ("wall", "cpu"))
    title = "all (target 20 s, 2,048 MiB; statistics 5 s)"
    print_row(title, f"{wall:.1f} s", f"{cpu:.1f} s", f"{parts[-1]['mib']:,.0f} MiB")
    ratio = cell["scikit-learn"] / cell["ours"]
    print(f"\none cell, {options.draws:,} draws: {cell['ours']:.3f} s CPU; ", end="")
    print(f"scikit-learn {cell['scikit-learn']:.1f} s, {ratio:,.0f} × as long (target 100)")
    print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in board["files"].items()))


if __name__ == "__main__":
    main()
