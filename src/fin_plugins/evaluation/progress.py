"""What `fin eval` says while it works: plain lines on standard error, which stay readable in a job's log."""

import sys


def say(line: str) -> None:
    """Write one line to standard error."""
    print(f"fin eval: {line}", file=sys.stderr, flush=True)
