"""Running the package's commands, and reading what they leave without what differs between two runs."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VOLATILE = {"versions", "hardware", "commit", "started", "ended", "command_line", "peak_memory_bytes"}
VOLATILE |= {"wall_seconds", "tokens_per_second", "replay_seconds", "created", "seconds"}
"""Keys of the package's records that differ between two runs of the same code."""


def run(program: str, *words: Any, **environment: str) -> str:
    """What a command prints, run in a process of its own.

    Raises:
        SystemExit: it failed; its last lines are in the message.
    """
    command = [str(Path(sys.executable).parent / program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    print(done.stdout, done.stderr, file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def fin(*words: Any) -> tuple[int, str]:
    """Exit status and standard output of `fin`, run in this process: a hundred starts would take most of the time."""
    (command,) = entry_points(group="console_scripts", name="fin")
    main, printed = command.load(), io.StringIO()
    sys.argv = ["fin", *map(str, words)]
    try:
        with contextlib.redirect_stdout(printed):
            main()
    except SystemExit as end:
        return int(end.code or 0), printed.getvalue()
    return 0, printed.getvalue()


def digest(content: Any) -> str:
    """The sha256 of bytes, or of anything else as text."""
    return hashlib.sha256(content if isinstance(content, bytes) else str(content).encode()).hexdigest()


def record_of(file: Path) -> Any:
    """A JSON record of the package without the keys that differ between two runs of the same code."""

    def steady(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: steady(one) for key, one in value.items() if key not in VOLATILE}
        return [steady(one) for one in value] if isinstance(value, list) else value

    return steady(json.loads(file.read_text(encoding="utf-8")))


def file_hashes(folder: Path, work: Path) -> dict[str, str]:
    """Hashes of a model's files; cards, records and plots, which hold words and dates, are left out."""
    left_out = {"README.md", "merge.json", "train.json", "run.json"}
    return {
        str(file.relative_to(folder)): digest(file.read_bytes().replace(str(work).encode(), b"WORK"))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in left_out and file.suffix != ".svg"
    }
