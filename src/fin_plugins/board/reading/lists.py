"""Lists of one model's files, as `fin eval --written` writes them: a board of exactly what they name.

What is shown of such a run is the list's name, and of its time the day: a board of the same results, made again in
another place, is the same to the last byte, and lm-eval puts the second into the name of every file.
"""

import json
from pathlib import Path
from typing import Any

from fin_plugins.errors import FinError

DAY = 24 * 3600


def listed(file: Path) -> list[Path] | None:
    """The result files that a list names; None where the file is no list.

    Raises:
        FinError: it names files that are not there.
    """
    content = _content(file)
    if not (isinstance(content, dict) and content.keys() == {"model", "files"}):
        return None
    files = [file.parent / name for name in content["files"]]
    gone = [one for one in files if not one.is_file()]
    if gone:
        raise FinError(f"{file}: names {gone[0]}, which is not there: run the `fin eval` again that wrote the list")
    return [one for one in files if one.suffix == ".json"]


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.suffix == ".json" else None
    except (OSError, ValueError):
        return None
