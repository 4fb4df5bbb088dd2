"""Writing the files of a new task: both or none."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fin_plugins.common.errors import FinError


def write_files(texts: Mapping[Path, str]) -> None:
    """Write files, each under a temporary name that is renamed once all are written.

    Args:
        texts: content by path; the folders need not exist.

    Raises:
        FinError: one of them cannot be written.
    """
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in texts}
    path = next(iter(texts))
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            parts[path].write_text(text, encoding="utf-8", newline="\n")
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        raise FinError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
