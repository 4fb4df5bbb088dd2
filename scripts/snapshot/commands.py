"""Run the package's commands and read their records and files, without what varies between runs."""

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
"""Keys of the package's records whose values vary between runs of the same code."""


def run(program: str, *words: Any, **environment: str) -> str:
    """Run a command in its own process and return its standard output.

    Raises:
        SystemExit: the command failed; the message ends with its last lines.
    """
    command = [str(Path(sys.executable).parent / program), *map(str, words)]
    process = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    print(process.stdout, process.stderr, file=sys.stderr)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}\n{process.stderr[-2000:]}")
    return process.stdout


def fin(*words: Any) -> tuple[int, str]:
    """Run `fin` in this process, to save a hundred start-ups; returns exit status and standard output."""
    (command,) = entry_points(group="console_scripts", name="fin")
    main, output, status = command.load(), io.StringIO(), 0
    sys.argv = ["fin", *map(str, words)]
    try:
        with contextlib.redirect_stdout(output):
            main()
    except SystemExit as error:
        status = int(error.code or 0)
    return status, output.getvalue()


def digest(content: Any) -> str:
    """SHA-256 of bytes, or of the text of any other object."""
    return hashlib.sha256(content if isinstance(content, bytes) else str(content).encode()).hexdigest()


def read_record(file: Path) -> Any:
    """A JSON record of the package, without `VOLATILE` keys at any depth."""
    return json.loads(
        file.read_text(encoding="utf-8"),
        object_hook=lambda entries: {key: value for key, value in entries.items() if key not in VOLATILE},
    )


def file_hashes(folder: Path, work: Path) -> dict[str, str]:
    """Hashes of a model's files, except cards, records and plots, which contain wording and dates."""
    excluded = {"README.md", "merge.json", "train.json", "run.json"}
    return {
        str(file.relative_to(folder)): digest(file.read_bytes().replace(str(work).encode(), b"WORK"))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in excluded and file.suffix != ".svg"
    }
