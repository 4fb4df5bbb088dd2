"""Log levels of other libraries."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_loggers(*loggers: str) -> Iterator[None]:
    """Raise the level of these loggers to ERROR within the block."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
