"""Test rows that stand in a split one learns from."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.rows import splits
from fin_plugins.checks.rows.model import Rows, Split
from fin_plugins.data.clean import UNCLEANED


def check(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    """Rule D06; splits cut by the loader cannot leak."""
    name = splits.scored(file, rows)
    if name is None or rows.cut or _on_purpose(file):
        return
    test = rows.splits[name]
    for other in splits.learnt(file, rows):
        leaked = _leaked(test, rows.splits[other]) if other != name else []
        if leaked:
            share = f"{len(leaked):,} of {len(test.names):,} rows of {name} ({len(leaked) / len(test.names):.1%})"
            mend = f"; the loader takes these rows out of {other}" if rows.kind == "own" else ""
            message = f"{share} have a text that stands in {other} too: {test.rows(leaked)}{mend}"
            yield file.finding("D06", splits.key(file), message)


def _leaked(test: Split, learnt: Split) -> list[int]:
    known = set(learnt.normalised) - {""}
    return [number for number, text in enumerate(test.normalised) if text in known]


def _on_purpose(file: TaskFile) -> bool:
    """Whether it is the shipped data set that repeats a published split, leak and all."""
    metadata = file.data.get("metadata")
    card = metadata.get("fin") if isinstance(metadata, dict) else None
    return isinstance(card, dict) and str(card.get("rows")).removeprefix("fin_") in UNCLEANED
