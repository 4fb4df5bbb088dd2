"""The one error type whose message is written for the person at the terminal."""

import sys
from types import TracebackType


class FinError(Exception):
    """Something the user can mend; the message is one line that names the file or setting and says what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def show_in_one_line() -> None:
    """Make an uncaught `FinError` print its message instead of a stack trace; other errors stay as they are.

    Task files are loaded deep inside lm-eval, whose command line has no error handling of its own: without this
    the reader of "data not fetched yet" gets forty lines of stack first. The exit status stays 1.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, FinError):
            print(f"fin: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    if getattr(previous, "_fin_plugins", False):
        return
    hook._fin_plugins = True  # type: ignore[attr-defined]
    sys.excepthook = hook
