"""Type the pages' commands one after another in this process: what they import is imported once.

    python -m tests.docs.session FOLDER < blocks.json

reads a JSON list of pages, each a list of `[commands, exit status]`, and prints a JSON list of pages, each a list of
what a terminal would have shown. `fin` runs in this process, everything else in bash. lm-eval's own 14,000 task
files, which no page asks for, are not read: that takes most of the time of a short evaluation.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from fin_plugins.cli.main import fin

_MODEL = "$(fin demo --model-path)"
_ASSIGNMENT = re.compile(r"([A-Z_]+)=(\S*)")


def without_own_tasks_of_lm_eval() -> None:
    """Let lm-eval read only the task folders that it is given."""
    from lm_eval.tasks import TaskManager

    everything = TaskManager.__init__

    def given(self: Any, *words: Any, **options: Any) -> None:
        everything(self, *words, **{**options, "include_defaults": False})

    TaskManager.__init__ = given  # type: ignore[method-assign]


def type_line(line: str) -> tuple[int, str]:
    """Exit status and output of one command."""
    if _MODEL in line:
        line = line.replace(_MODEL, CliRunner().invoke(fin, ["demo", "--model-path"]).stdout.strip())
    words = shlex.split(line)
    environment = {}
    while match := _ASSIGNMENT.fullmatch(words[0]):
        environment[match[1]] = match[2]
        words = words[1:]
    if words[0] != "fin":
        done = subprocess.run(["bash", "-e", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout
    result = CliRunner(env=environment).invoke(fin, words[1:])
    trace = f"\n{result.exception!r}" if result.exception and not isinstance(result.exception, SystemExit) else ""
    return result.exit_code, result.output + trace


def type_page(blocks: list[tuple[str, int]]) -> list[str]:
    """What a terminal shows of each block."""
    shown = []
    for text, status in blocks:
        outputs, last = "", 0
        for line in text.replace("\\\n", " ").splitlines():
            last, output = type_line(line)
            outputs += output
        shown.append(outputs)
        if last != status:
            raise SystemExit(f"exit status {last}, not {status}:\n{text}\n{outputs[-6000:]}")
    return shown


if __name__ == "__main__":
    folder, pages = sys.argv[1], json.load(sys.stdin)  # lm-eval changes sys.argv
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    without_own_tasks_of_lm_eval()
    shown = []
    for number, page in enumerate(pages):
        Path(folder, str(number)).mkdir(exist_ok=True)
        os.chdir(f"{folder}/{number}")
        shown.append(type_page(page))
    json.dump(shown, answers)
    answers.flush()
    os._exit(0)
