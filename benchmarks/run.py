"""`make bench`: speed and memory as a table of plain figures and ratios. Writes nothing into the repository."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import BIN, machine_summary, median, print_row, run, run_in_turns

HERE = Path(__file__).resolve().parent
MIRROR = Path(os.environ.get("FIN_TEST_MIRROR") or HERE.parents[1] / "shared" / "upstream").resolve()
HOOK_OFF = {"FIN_PLUGINS_AUTOLOAD": "0"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
# Through click, because the exit status of `fin doctor` is about the machine, not the benchmark.
DOCTOR = "from fin_plugins.cli.main import fin; fin(['doctor'], standalone_mode=False)"
Row = tuple[str, str, str]
"""Measurement, figure and what to compare it with."""


def start_up() -> Iterator[Row]:
    """Cost of the start-up file to every Python process of the environment, and of starting the commands."""
    python = [sys.executable, "-c", "pass"]
    cost = run_in_turns(41, {"on": (python, {}), "off": (python, HOOK_OFF)})
    yield "`python -c pass`, start-up file active", _format_ms(cost["on"].wall), f"{_format_ms(cost['off'].wall)} off"
    cost = run_in_turns(15, {"fin": ([BIN / "fin", "--help"], {}), "python": (python, {})})
    ratio = f"{cost['fin'].wall / cost['python'].wall:.1f} × `python -c pass`"
    yield "`fin --help`", _format_ms(cost["fin"].wall), ratio
    lm_eval = run_in_turns(3, {"lm_eval": ([BIN / "lm_eval", "--help"], {})})["lm_eval"].wall
    yield "`lm_eval --help`", _format_ms(lm_eval), f"{lm_eval / cost['fin'].wall:.1f} × `fin --help`"
    doctor = run_in_turns(5, {"doctor": ([sys.executable, "-c", DOCTOR], {})})["doctor"].wall
    yield "`fin doctor`", _format_ms(doctor), ""


def fetching(folder: Path) -> Iterator[Row]:
    """All data sets from the mirror into an empty folder, three times; `loading` reads the last one, `data2`."""
    if not (MIRROR / "SHA256SUMS").is_file():
        yield "`fin data fetch --mirror`", "not measured", f"no mirror at {MIRROR}: set FIN_TEST_MIRROR"
        return
    command = [BIN / "fin", "data", "fetch", "--mirror", MIRROR]
    cost = median([run(command, {"FIN_DATA_DIR": str(folder / f"data{turn}")}) for turn in range(3)])
    yield "`fin data fetch --mirror`, all data sets, empty folder", f"{cost.wall:.1f} s", f"{cost.cpu:.1f} s CPU"
    yield "its peak memory", f"{cost.mib:,.0f} MiB", ""


def loading(folder: Path) -> Iterator[Row]:
    """What loading group `fin` adds to the start of lm-eval without this package."""
    load, fetched = [sys.executable, HERE / "load_tasks.py"], folder / "data2"
    runs = {"bare": (load, OFFLINE | HOOK_OFF), "sample": ([*load, "fin"], OFFLINE | {"FIN_DATA": "sample"})}
    if fetched.is_dir():
        runs["real"] = ([*load, "fin"], OFFLINE | {"FIN_DATA": "real", "FIN_DATA_DIR": str(fetched)})
    costs = run_in_turns(3, runs)
    bare = costs.pop("bare")
    yield "start of lm-eval (`TaskManager()`)", f"{bare.wall:.1f} s", f"{bare.cpu:.1f} s CPU, {bare.mib:,.0f} MiB"
    for rows, cost in costs.items():
        added = f"{cost.cpu - bare.cpu:+.1f} s CPU, {cost.mib - bare.mib:+,.0f} MiB"
        yield f"loading `fin` (8 tasks, {rows} rows) adds", f"{cost.wall - bare.wall:+.1f} s", added


def standard_errors() -> Iterator[Row]:
    """Bootstrap standard errors of one task of few labels and one of many."""
    process = subprocess.run([sys.executable, HERE / "bootstrap.py"], capture_output=True, text=True, check=True)
    for task, figures in json.loads(process.stdout).items():
        ratio = f"resampling rows with scikit-learn: {figures['theirs'] / figures['ours']:,.0f} × as long"
        title = f"standard errors like {task}'s, 10,000 draws, {figures['cells']} filled cells"
        yield title, f"{figures['ours']:.2f} s CPU", ratio


def main() -> None:
    """Print the table row by row, as figures become available."""
    print(f"{machine_summary()}, medians\n")
    print("| measurement | figure | comparison |\n|---|---:|---|")
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        for part in (start_up(), standard_errors(), fetching(Path(folder)), loading(Path(folder))):
            for row in part:
                print_row(*row)


def _format_ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


if __name__ == "__main__":
    main()
