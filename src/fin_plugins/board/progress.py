"""What `fin board` says while it works: nothing where it is done at once, else a line every few seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def told_when_long(what: str, every: float = 5.0) -> Iterator[None]:
    """Say on standard error that the work goes on, from a thread of its own: the work need not know.

    Args:
        what: is being done.
        every: seconds from line to line, and to the first.
    """
    done, start = Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(every):
            print(f"fin board: {what}, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
