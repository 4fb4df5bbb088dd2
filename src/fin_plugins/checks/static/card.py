"""The card of a task of ours: what a reader of its results has to know."""

import re
from collections.abc import Iterator

from fin_plugins.checks.model import Finding, TaskFile

_CODES = {"licence": "C01", "source": "C02"}
_PLACEHOLDER = re.compile(
    r"\W*(?:|to ?do|tbd|tba|fix ?me|xxx|n/?a|none|null|unknown|unclear|unspecified|not (?:stated|known|given)|\?+"
    r"|(?:your |the |some )?(?:licen[cs]e|source)(?: here| goes here)?|<.*>|\.\.\.|…)\W*",
    re.IGNORECASE,
)


def card(file: TaskFile) -> Iterator[Finding]:
    """There is a card with a version, and nothing in it is a placeholder."""
    if not file.ours:
        return
    metadata = file.data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("version") is None:
        yield file.finding("C04", ("metadata", "version"), "is missing: begin with 1.0, and raise it with every change")
    if "fin" not in metadata:
        message = "is missing: say there whether models are trained on it (seen), its source and its licence"
        yield file.finding("C05", ("metadata", "fin"), message)
    stated = metadata.get("fin")
    for name, code in _CODES.items():
        value = stated.get(name) if isinstance(stated, dict) else None
        if isinstance(value, str) and value and _PLACEHOLDER.fullmatch(value):
            yield file.finding(
                code, ("metadata", "fin", name), f"`{value}` says nothing: state it as its publisher does"
            )
