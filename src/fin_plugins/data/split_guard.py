"""A guard that keeps test rows from training: while it is active, every attempt to read them fails."""

from collections.abc import Iterator
from contextlib import contextmanager

from fin_plugins.common.errors import FinError

TEST = "test"
_blocks = 0  # process-wide, not per thread: a data loader's thread must not get past it


@contextmanager
def block_test_split() -> Iterator[None]:
    """Block the test rows of all data sets in this process until the block ends; may be nested."""
    global _blocks
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1


def is_blocked() -> bool:
    """Whether test rows are blocked."""
    return _blocks > 0


def assert_test_allowed(what: str) -> None:
    """Fail if test rows are blocked.

    Args:
        what: what was to be read, for the message.

    Raises:
        FinError: test rows are blocked.
    """
    if is_blocked():
        raise FinError(f"{what}: test rows cannot be read while a model is trained or merge weights are searched")
