"""Record the package's behaviour in a snapshot, to show that a refactoring changes nothing.

    python scripts/behaviour.py --out before       # a few minutes on one core; a stopped run resumes
    python scripts/behaviour.py --out after        # after the refactoring
    python scripts/behaviour.py compare before after

Each section writes one JSON file: prompts and tokens, data hashes, scores, trainings, merges, boards, findings of the
checker. Sections use stable interfaces only: the command line, the task files, lm-eval's public API, PEFT and
safetensors files. They leave out wording (help, messages, cards) and what varies between runs (dates, paths, speeds).
Compare only snapshots from the same machine, because floating-point sums depend on processor and library versions.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from snapshot.commands import ROOT
from snapshot.comparison import compare
from snapshot.sections import SECTIONS, Context

DEFAULT_SECTIONS = [name for name in SECTIONS if name != "real"]
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "FIN_DATA": "sample",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # fixes the order of summation
    "PYTHONDONTWRITEBYTECODE": "",  # without bytecode, every process recompiles its libraries
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    """Write the missing sections of a snapshot, or compare two snapshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mirror = os.environ.get("FIN_TEST_MIRROR") or ROOT.parent / "shared" / "upstream"
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the snapshot")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="one section; repeatable")
    parser.add_argument("--fresh", action="store_true", help="rewrite existing sections")
    parser.add_argument("--mirror", type=Path, default=Path(mirror), metavar="DIR", help="raw data files")
    parser.add_argument(
        "--leaderboard", type=Path, default=ROOT / "leaderboard", metavar="DIR", help="results for the boards"
    )
    parser.add_argument("--real-model", type=Path, metavar="DIR", help="a checkpoint: adds the section `real`")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command")
    comparison = commands.add_parser("compare", help="print how two snapshots differ")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    comparison.add_argument("--ignore", metavar="REGEX", help="ignore differences whose line matches")
    options = parser.parse_args()
    if options.command:
        sys.exit(not compare(options.before, options.after, options.ignore))
    if options.out is None:
        parser.error("no output folder: add --out DIR")
    if options.worker:
        _record_section(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    sections = options.only or [*DEFAULT_SECTIONS, *(["real"] if options.real_model else [])]
    failed = []
    for number, name in enumerate(sections, 1):
        if not _write_section(options, name, f"{number}/{len(sections)}"):
            failed.append(name)
    sys.exit(f"behaviour: failed: {', '.join(failed)}" if failed else 0)


def _write_section(options: argparse.Namespace, name: str, count: str) -> bool:
    """Record a section in its own process unless its file exists; returns whether that succeeded."""
    file = options.out / f"{name}.json"
    if file.exists() and not options.fresh:
        print(f"behaviour: {count} {name}: exists", flush=True)
        return True
    file.unlink(missing_ok=True)
    started = time.monotonic()
    print(f"behaviour: {count} {name}", flush=True)
    process = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--worker", name], env={**os.environ, **ENVIRONMENT}, check=False
    )
    log = file.with_suffix(".log")
    outcome = f"failed, see {log}: {_last_line(log)}" if process.returncode else f"{file.stat().st_size:,} bytes"
    print(f"behaviour: {count} {name}: {outcome}, {time.monotonic() - started:.0f} s", flush=True)
    return process.returncode == 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "")


def _record_section(options: argparse.Namespace) -> None:
    """Record a section in this process; output of its libraries goes to a log."""
    name, out = options.worker, options.out.resolve()
    sys.path.insert(0, str(ROOT))
    terminal = os.fdopen(os.dup(1), "w")

    def report(line: str) -> None:
        print(f"behaviour:     {line}", file=terminal, flush=True)

    with (out / f"{name}.log").open("wb") as log, tempfile.TemporaryDirectory(prefix="behaviour-") as folder:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        work = Path(folder).resolve()
        real_model = options.real_model and options.real_model.resolve()
        context = Context(work, options.mirror.resolve(), options.leaderboard.resolve(), real_model, report)
        with contextlib.chdir(work):
            snapshot = SECTIONS[name](context)
    text = json.dumps(snapshot, sort_keys=True, ensure_ascii=False, indent=1)
    text = text.replace(str(work), "WORK").replace(str(ROOT), "REPOSITORY")
    (out / f"{name}.json.writing").write_text(text + "\n", encoding="utf-8")
    (out / f"{name}.json.writing").replace(out / f"{name}.json")


if __name__ == "__main__":
    main()
