"""The progress display of `fin eval`: one bar for each task and model on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from fin_plugins.common.console import say
from fin_plugins.common.formatting import duration

LINE_INTERVAL = 30.0
"""Seconds between two lines where standard error is no terminal."""


@contextmanager
def document_progress(label: str, documents: int, requests: int) -> Iterator[Callable[[int], None]]:
    """Show how far one task of one model is.

    Args:
        label: names task and model, for example `[3/8] fomc · fin_fpb`.
        documents: number of documents that are asked.
        requests: number of requests that these documents make (one for each label, or one reply).

    Yields:
        The function that takes the number of requests just answered.
    """
    progress = (_Bar if sys.stderr.isatty() else _Lines)(label, documents, requests)
    try:
        yield progress.advance
    finally:
        progress.close()


class _Bar:
    """Progress on a terminal. The bar appears with the first answers: lm-eval shows its own where it does the work."""

    def __init__(self, label: str, documents: int, requests: int) -> None:
        self._label = label
        self._documents = documents
        self._requests = requests
        self._bar: Any = None

    def advance(self, answered: int) -> None:
        """Count requests that were answered."""
        if self._bar is None:
            layout = "{desc}: |{bar:20}| {n:.0f}/{total} documents, {remaining} left"
            self._bar = tqdm(total=self._documents, desc=self._label, delay=0, leave=False, bar_format=layout)
        self._bar.update(answered * self._documents / self._requests)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


class _Lines:
    """Progress in a log: a line with documents done and the time left, at most once in `LINE_INTERVAL`."""

    def __init__(self, label: str, documents: int, requests: int) -> None:
        self._label = label
        self._documents = documents
        self._requests = requests
        self._answered = 0
        self._start = self._last = time.monotonic()

    def advance(self, answered: int) -> None:
        """Count requests that were answered."""
        self._answered += answered
        now = time.monotonic()
        if now - self._last < LINE_INTERVAL or self._answered >= self._requests:
            return
        self._last = now
        done = self._answered * self._documents // self._requests
        left = (now - self._start) / self._answered * (self._requests - self._answered)
        say(f"{self._label}: {done} of {self._documents} documents, {duration(left)} left")

    def close(self) -> None:
        """Nothing is left to do: lines stay."""
