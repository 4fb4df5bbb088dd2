"""What `fin task new` says it has found and written, and what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fin_plugins.authoring.plan import Plan


def _next(files: Sequence[Path]) -> dict[str, str]:
    file, name, folder = shlex.quote(str(files[0])), files[0].stem, shlex.quote(str(files[0].parent))
    rest = f"--tasks {name},{files[1].stem} --include_path {folder}"
    model = "--model_args pretrained=MODEL --apply_chat_template --output_path results/ --log_samples"
    return {
        "look for mistakes": f"fin task check {file}",
        "see the prompt": f"fin task show {file}",
        "score a model": f"fin eval {rest} --model fin_hf {model}",
        "the same with lm-eval alone": f"lm_eval {rest} --model hf {model}",
        "the board": "fin board results/ --out board/",
    }


def as_json(made: Plan, files: Sequence[Path]) -> dict[str, Any]:
    """All of it, for other programs.

    Args:
        made: the task.
        files: its file and its twin's.
    """
    return {
        "task": made.draft.name,
        "files": [str(file) for file in files],
        "text": made.draft.rows.columns.text,
        "label": made.draft.rows.columns.label,
        "rows": made.rows,
        "labels": made.labels,
        "splits": made.splits,
        "notes": list(made.notes),
        "next": _next(files),
    }


def as_text(made: Plan, files: Sequence[Path]) -> str:
    """All of it, for people.

    Args:
        made: the task.
        files: its file and its twin's.
    """
    columns = made.draft.rows.columns
    steps = _next(files)
    width = max(map(len, steps))
    return "\n".join(
        [
            f"{made.rows:,} rows: text in {columns.text}, label in {columns.label}",
            f"labels: {_counted(made.labels)}",
            f"splits: {_counted(made.splits)}",
            *(f"note: {note}" for note in made.notes),
            f"written: {files[0]} and {files[1]}",
            "next:",
            *(f"  {what + ':':<{width + 1}} {typed}" for what, typed in steps.items()),
        ]
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
