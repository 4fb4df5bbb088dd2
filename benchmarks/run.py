"""`make bench`: speed and memory as a table of plain figures and ratios. Writes nothing into the repository."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from json import loads
from pathlib import Path

from measure import BIN, in_turns, median, run

HERE = Path(__file__).resolve().parent
MIRROR = Path(os.environ.get("FIN_TEST_MIRROR") or HERE.parents[1] / "shared" / "upstream").resolve()
OFF = {"FIN_PLUGINS_AUTOLOAD": "0"}
QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
Row = tuple[str, str, str]
"""What was measured, the figure, what it stands beside."""


def start_up() -> Iterator[Row]:
    """The start-up file's price for every Python process of the environment, and `fin --help`."""
    nothing = [sys.executable, "-c", "pass"]
    cost = in_turns(41, {"on": (nothing, {}), "off": (nothing, OFF)})
    yield "`python -c pass`, start-up file in force", _ms(cost["on"].wall), f"{_ms(cost['off'].wall)} switched off"
    cost = in_turns(15, {"fin": ([BIN / "fin", "--help"], {}), "python": (nothing, {})})
    ratio = f"{cost['fin'].wall / cost['python'].wall:.1f} × `python -c pass`"
    yield "`fin --help`", _ms(cost["fin"].wall), ratio
    theirs = in_turns(3, {"lm_eval": ([BIN / "lm_eval", "--help"], {})})["lm_eval"].wall
    yield "`lm_eval --help`", _ms(theirs), f"{theirs / cost['fin'].wall:.1f} × `fin --help`"
    doctor = in_turns(5, {"doctor": ([sys.executable, "-c", _DOCTOR], {})})["doctor"].wall
    yield "`fin doctor`", _ms(doctor), ""


# The doctor's exit status tells of the machine, not of the benchmark.
_DOCTOR = "from fin_plugins.cli.main import fin; fin(['doctor'], standalone_mode=False)"


def fetching(folder: Path) -> Iterator[Row]:
    """All data sets from the mirror into an empty folder, three times; the last stays for `loading`."""
    if not (MIRROR / "SHA256SUMS").is_file():
        yield "`fin data fetch --mirror`", "not measured", f"no mirror at {MIRROR}: set FIN_TEST_MIRROR"
        return
    command = [BIN / "fin", "data", "fetch", "--mirror", MIRROR]
    cost = median([run(command, {"FIN_DATA_DIR": str(folder / f"data{turn}")}) for turn in range(3)])
    yield "`fin data fetch --mirror`, all data sets, empty folder", f"{cost.wall:.1f} s", f"{cost.cpu:.1f} s CPU"
    yield "its peak memory", f"{cost.mib:,.0f} MiB", ""


def loading(folder: Path) -> Iterator[Row]:
    """What loading group `fin` adds to lm-eval's own start without this package."""
    load, fetched = [sys.executable, HERE / "load_tasks.py"], folder / "data2"
    runs = {"bare": (load, QUIET | OFF), "sample": ([*load, "fin"], QUIET | {"FIN_DATA": "sample"})}
    if fetched.is_dir():
        runs["real"] = ([*load, "fin"], QUIET | {"FIN_DATA": "real", "FIN_DATA_DIR": str(fetched)})
    cost = in_turns(3, runs)
    bare = cost.pop("bare")
    yield "lm-eval's own start (`TaskManager()`)", f"{bare.wall:.1f} s", f"{bare.cpu:.1f} s CPU, {bare.mib:,.0f} MiB"
    for rows, loaded in cost.items():
        beside = f"{loaded.cpu - bare.cpu:+.1f} s CPU, {loaded.mib - bare.mib:+,.0f} MiB"
        yield f"loading `fin` (8 tasks, {rows} rows) adds", f"{loaded.wall - bare.wall:+.1f} s", beside


def standard_errors() -> Iterator[Row]:
    """100,000 bootstrap draws a task."""
    done = subprocess.run([sys.executable, HERE / "bootstrap.py"], capture_output=True, text=True, check=True)
    for task, took in loads(done.stdout).items():
        ratio = f"resampling rows with scikit-learn: {took['theirs'] / took['ours']:,.0f} × as long"
        what = f"standard errors like {task}'s, 100,000 draws, {took['cells']} filled cells"
        yield what, f"{took['ours']:.2f} s CPU", ratio


def main() -> None:
    """Print the table, row by row as it comes."""
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, medians\n"
    )
    print("| what | figure | beside it |\n|---|---:|---|")
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as scratch:
        for part in (start_up(), standard_errors(), fetching(Path(scratch)), loading(Path(scratch))):
            for row in part:
                print(f"| {' | '.join(row)} |", flush=True)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


if __name__ == "__main__":
    main()
