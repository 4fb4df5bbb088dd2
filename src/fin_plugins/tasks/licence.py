"""The licence of a task's rows, shown to whoever runs it: one line a data set and process."""

import os
import sys
from collections.abc import Mapping
from typing import Any

_shown: set[tuple[str, str]] = set()


def show_licence(name: str, card: Mapping[str, Any]) -> None:
    """Print licence and source to stderr, unless this process has; of many processes of a training the first one does.

    Args:
        name: what the line begins with: the task or data set.
        card: the task file's `metadata.fin`.
    """
    licence, source = str(card.get("licence") or "not stated"), str(card.get("source") or "not stated")
    if (licence, source) in _shown or os.environ.get("RANK", "0") != "0":
        return
    _shown.add((licence, source))
    print(f"{name}: licence of the rows: {licence}; source: {source}", file=sys.stderr, flush=True)
