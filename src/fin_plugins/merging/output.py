"""The folder of a result: written under another name, and renamed when all of it is there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from fin_plugins.common.errors import FinError
from fin_plugins.common.permissions import apply_umask
from fin_plugins.merging.leftovers import held, old_of, scratch_of


def check_out(out: Path, *, force: bool) -> None:
    """Check that the result may be written there.

    Raises:
        FinError: there is a file, or a folder with something in it that may not be replaced.
    """
    if out.is_file() or out.is_symlink():
        raise FinError(f"--out {out}: is a file or a link: name a folder")
    if out.is_dir() and not force and any(out.iterdir()):
        raise FinError(f"--out {out}: is there already: name another folder, or pass --force to replace it")


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
    scratch = scratch_of(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with held(out):
            try:
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir()
                yield scratch
                apply_umask(scratch)
                _take_place(scratch, out)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Timeout as error:
        raise FinError(f"--out {out}: another merge writes there: wait for it, or name another folder") from error
    except OSError as error:
        raise FinError(f"--out {out}: cannot be written ({error.strerror or error}): free some space") from error


def _take_place(scratch: Path, out: Path) -> None:
    old = old_of(out)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    scratch.replace(out)
    shutil.rmtree(old, ignore_errors=True)
