"""Rows as the rules look at them: read raw, so that everything that is wrong with them is still there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from fin_plugins.data.normalise import normalise
from fin_plugins.yaml_nodes import Key

Kind = Literal["own", "shipped", "sample", "plain"]

SAMPLE = 2_000
"""So many rows of a split are rendered and tokenised at most."""

_SHOWN = 3


@dataclass(frozen=True)
class Split:
    """The rows of one split; all sequences but the documents are parallel.

    Attributes:
        names: what a row is called in a message: its number below the heading, or its id.
        values: the label as it stands in the data; None where the task does not say which column that is.
        texts: the text; None likewise.
        also: what else tells a row from others with the same text.
        documents: what the template sees, of `SAMPLE` rows at most with a listed label.
    """

    names: Sequence[str]
    values: Sequence[str] | None
    texts: Sequence[str] | None
    also: Sequence[tuple[str, ...]]
    documents: Sequence[Mapping[str, Any]]

    @cached_property
    def normalised(self) -> list[str]:
        """The texts as they are compared."""
        return [normalise(text) for text in self.texts or ()]

    def rows(self, numbers: Sequence[int]) -> str:
        """`row 4`, or `rows 4, 9, 12 and 7 more`."""
        shown = ", ".join(self.names[number] for number in numbers[:_SHOWN])
        more = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
        return f"row{'s' if len(numbers) > 1 else ''} {shown}{more}"


@dataclass(frozen=True)
class Rows:
    """A task's rows.

    Attributes:
        kind: the user's `own` table; a data set that is `shipped`, or its embedded `sample`; a `plain` task of
            lm-eval's that names local files.
        splits: by name.
        labels: the value in the data, and the word that the model is asked for; None where that is not known.
        labels_key: where the list stands in the task file.
        telling: columns of the documents that tell the right answer.
        cut: whether the splits are cut by the loader, which keeps equal texts together.
    """

    kind: Kind
    splits: Mapping[str, Split]
    labels: Mapping[str, str] | None = None
    labels_key: Key = ()
    telling: frozenset[str] = frozenset()
    cut: bool = False

    @property
    def columns(self) -> list[str]:
        """What the template may name."""
        firsts = (row for split in self.splits.values() for row in split.documents[:1])
        return list(dict.fromkeys(name for row in firsts for name in row))


@dataclass(frozen=True)
class Reading:
    """What came of reading a task's rows.

    Attributes:
        rows: None where they could not be read.
        problems: code, key and message of what is wrong with the files.
        note: why they are not looked at, where that is nobody's mistake.
    """

    rows: Rows | None = None
    problems: Sequence[tuple[str, Key, str]] = field(default=())
    note: str | None = None
