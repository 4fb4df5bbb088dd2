"""Writing the files of a new task: both or none."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from fin_plugins.common.atomic import unfinished_file
from fin_plugins.common.errors import FinError


def write_files(texts: Mapping[Path, str]) -> None:
    """Write files, each under a temporary name until all are written.

    Args:
        texts: content by path; the folders need not exist.

    Raises:
        FinError: one of them cannot be written.
    """
    path = next(iter(texts))
    try:
        with ExitStack() as stack:
            for path in reversed(list(texts)):  # a stack ends with what it began with: files take their places in order
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(unfinished_file(path)).write_bytes(texts[path].encode())
    except OSError as error:
        raise FinError(f"{path}: cannot be written ({error.strerror or error})") from error
