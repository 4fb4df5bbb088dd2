"""Keeps test rows out of reach of training: while the guard is up, whoever asks for them in this process fails."""

from collections.abc import Iterator
from contextlib import contextmanager

from fin_plugins.common.errors import FinError

TEST = "test"
_closed = 0  # of the process, not of a thread: a data loader's thread must not get past it


@contextmanager
def test_rows_closed() -> Iterator[None]:
    """No test row of any data set can be read in this process until the block ends; blocks may be nested."""
    global _closed
    _closed += 1
    try:
        yield
    finally:
        _closed -= 1


def closed() -> bool:
    """Whether test rows are out of reach."""
    return _closed > 0


def check_open(what: str) -> None:
    """Fail where test rows are out of reach.

    Args:
        what: what was asked for, for the message.

    Raises:
        FinError: the guard is up.
    """
    if closed():
        raise FinError(f"{what}: test rows cannot be read while a model is trained or merge weights are searched")


test_rows_closed.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test's
