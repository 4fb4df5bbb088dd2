"""What a merge shows while it works: a bar on a terminal, else a line now and then. All on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_EVERY = 10.0  # seconds between two plain lines


@contextmanager
def shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far the work is.

    Args:
        what: is counted, as `tensors`.

    Yields:
        The function to tell how many are done, and of how many.
    """
    yield from _bar(what) if sys.stderr.isatty() else _lines(what)


def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Iterator[Callable[[int, int], None]]:
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            print(f"fin merge: {done} of {total} {what}", file=sys.stderr, flush=True)

    yield tell
