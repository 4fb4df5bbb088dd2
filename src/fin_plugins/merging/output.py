"""The folder of a result: written under another name, and renamed when all of it is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fin_plugins.common.atomic import remove_unfinished_folders, unfinished_folder
from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import Locked

_RECORD = "merge.json"  # `recorded.FILE`, which loads torch


def check_out(out: Path, *, force: bool) -> None:
    """Check that the result may be written there.

    Raises:
        FinError: there is a file, or a folder with something in it that may not be replaced.
    """
    if out.is_file() or out.is_symlink():
        raise FinError(f"--out {out}: is a file or a link: name a folder")
    if out.is_dir() and not force and any(out.iterdir()):
        raise FinError(f"--out {out}: is there already: name another folder, or pass --force to replace it")


def clear_merges(folder: Path) -> None:
    """Remove what killed merges left in a folder, and put back what they were about to replace."""
    remove_unfinished_folders(folder, _RECORD)


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """Write a folder whole or not at all.

    What a killed merge left is thrown away (`clear_merges` does so without writing there). The old folder, if any, goes
    when the new one is there.

    Args:
        out: the folder.

    Yields:
        Another folder beside it, empty, to write to.

    Raises:
        FinError: it cannot be written, or another process writes it.
    """
    try:
        with unfinished_folder(out) as unfinished:
            yield unfinished
    except Locked as error:
        raise FinError(f"--out {out}: another merge writes there: wait for it, or name another folder") from error
    except OSError as error:
        raise FinError(f"--out {out}: cannot be written ({error.strerror or error}): free some space") from error
