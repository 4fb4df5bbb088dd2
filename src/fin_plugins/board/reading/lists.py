"""Lists of one model's files, as `fin eval --written` writes them: a board of exactly what they name.

What is shown of such a run is the list's name, and of its time the day: a board of the same results, made again in
another place, is the same to the last byte, and lm-eval puts the second into the name of every file.
"""

from pathlib import Path
from typing import Any

from fin_plugins.board.reading.values import MAX_RESULT, Unusable, texts
from fin_plugins.common.foreign_files import UnreadableFile, read_json

DAY = 24 * 3600


def listed(file: Path) -> list[Path] | None:
    """The result files that a list names; None where the file is no list.

    Raises:
        Unusable: it cannot be read, is no JSON, or names files that are not there.
    """
    content = _content(file)
    if not (isinstance(content, dict) and content.keys() == {"model", "files"}):
        return None
    names = texts(content["files"])
    if names is None:
        raise Unusable("is a list of files whose `files` are not names: run the `fin eval` again that wrote it")
    files = [file.parent / name for name in names]
    gone = [one for one in files if not one.is_file()]
    if gone:
        said = f"names {gone[0]}, which is not there: run the `fin eval` again that wrote the list"
        raise Unusable(said, is_error=True)
    return [one for one in files if one.suffix == ".json"]


def _content(file: Path) -> Any:
    if file.suffix != ".json":
        return None
    try:
        return read_json(file, MAX_RESULT, replace_surrogates=True)
    except UnreadableFile as error:
        raise Unusable(error.reason) from error
