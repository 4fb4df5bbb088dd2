"""What a fetch shows while it works: a bar on a terminal, plain lines elsewhere. All on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from fin_plugins.data.fetch import OnBytes
from fin_plugins.data.sources import SourceFile


def say(line: str) -> None:
    """Write one plain line to standard error."""
    print(line, file=sys.stderr, flush=True)


def say_file(source: SourceFile, fetched: bool) -> None:
    """Write a line for a file that is there now, where no bar shows the same."""
    if not sys.stderr.isatty():
        say(f"  {'fetched' if fetched else 'there already'}: {source.path} ({source.bytes:,} bytes)")


@contextmanager
def overall(total: int, title: str) -> Iterator[OnBytes]:
    """Show one bar over all bytes where standard error is a terminal.

    Args:
        total: bytes to come.
        title: what is being done.

    Yields:
        The function to tell the bytes as they arrive.
    """
    say(f"{title}: {total / 1e6:.1f} MB")
    if not sys.stderr.isatty():
        yield lambda size: None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)
