"""The error whose message is shown to the user as it is, and helpers for other errors' messages."""

import sys
from types import TracebackType


class FinError(Exception):
    """An error the user can fix. Its message names the file or setting, what is wrong and what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def show_in_one_line() -> None:
    """Make an uncaught `FinError` print only its message. Other errors keep their stack trace.

    lm-eval's command line catches nothing, so an error raised while it loads a task file would show forty lines of
    stack trace. The exit status stays 1.
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
