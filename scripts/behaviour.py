"""A snapshot of what the package does, to show that a refactoring changes nothing.

    python scripts/behaviour.py --out before       # a few minutes on one core; a stopped run resumes
    python scripts/behaviour.py --out after        # after the refactoring
    python scripts/behaviour.py compare before after

Each section writes one JSON file: prompts and tokens, data hashes, scores, a training, merges, boards, findings of the
checker. Everything goes through names that last: the command line, the task files, lm-eval's public API, PEFT and
safetensors files. Wording (help, messages, cards) and what differs between two runs (dates, paths, speeds) stay out.
Compare snapshots of one machine only: floating-point sums differ between processors and library versions.
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

BY_DEFAULT = [name for name in SECTIONS if name != "real"]
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "FIN_DATA": "sample",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # one order of summation
    "PYTHONDONTWRITEBYTECODE": "",  # without bytecode every process compiles its libraries anew
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    """Write the sections that are not there yet, or compare two snapshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mirror = os.environ.get("FIN_TEST_MIRROR") or ROOT.parent / "shared" / "upstream"
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the snapshot")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="one section; repeatable")
    parser.add_argument("--fresh", action="store_true", help="write sections that are there already again")
    parser.add_argument("--mirror", type=Path, default=Path(mirror), metavar="DIR", help="raw files of the data sets")
    parser.add_argument("--leaderboard", type=Path, default=ROOT / "leaderboard", metavar="DIR", help="for the boards")
    parser.add_argument("--real-model", type=Path, metavar="DIR", help="a checkpoint: adds the section `real`")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb")
    comparison = verbs.add_parser("compare", help="print how two snapshots differ")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    comparison.add_argument("--ignore", metavar="REGEX", help="leave out differences whose line it is found in")
    options = parser.parse_args()
    if options.verb:
        sys.exit(not compare(options.before, options.after, options.ignore))
    if options.out is None:
        parser.error("name a folder: --out DIR")
    if options.worker:
        _work(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = options.only or [*BY_DEFAULT, *(["real"] if options.real_model else [])]
    failed = [name for number, name in enumerate(chosen, 1) if not _write(options, name, f"{number}/{len(chosen)}")]
    sys.exit(f"behaviour: failed: {', '.join(failed)}" if failed else 0)


def _write(options: argparse.Namespace, name: str, count: str) -> bool:
    """Run a section in a process of its own, unless its file is there; whether that went well."""
    file = options.out / f"{name}.json"
    if file.exists() and not options.fresh:
        print(f"behaviour: {count} {name}: is there already", flush=True)
        return True
    file.unlink(missing_ok=True)
    started = time.monotonic()
    print(f"behaviour: {count} {name}", flush=True)
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--worker", name], env={**os.environ, **ENVIRONMENT}, check=False
    )
    log = file.with_suffix(".log")
    outcome = f"failed, see {log}: {_last_line(log)}" if done.returncode else f"{file.stat().st_size:,} bytes"
    print(f"behaviour: {count} {name}: {outcome}, {time.monotonic() - started:.0f} s", flush=True)
    return done.returncode == 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "")


def _work(options: argparse.Namespace) -> None:
    """One section, in this process; what its libraries print goes to a log."""
    name, out = options.worker, options.out.resolve()
    sys.path.insert(0, str(ROOT))
    terminal = os.fdopen(os.dup(1), "w")

    def say(line: str) -> None:
        print(f"behaviour:     {line}", file=terminal, flush=True)

    with (out / f"{name}.log").open("wb") as log, tempfile.TemporaryDirectory(prefix="behaviour-") as folder:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        work = Path(folder).resolve()
        real_model = options.real_model and options.real_model.resolve()
        context = Context(work, options.mirror.resolve(), options.leaderboard.resolve(), real_model, say)
        with contextlib.chdir(work):
            snapshot = SECTIONS[name](context)
    text = json.dumps(snapshot, sort_keys=True, ensure_ascii=False, indent=1)
    text = text.replace(str(work), "WORK").replace(str(ROOT), "REPOSITORY")
    (out / f"{name}.json.writing").write_text(text + "\n", encoding="utf-8")
    (out / f"{name}.json.writing").replace(out / f"{name}.json")


if __name__ == "__main__":
    main()
