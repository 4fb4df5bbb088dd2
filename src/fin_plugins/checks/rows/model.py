"""Rows as the rules look at them: read raw, so that everything that is wrong with them is still there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from fin_plugins.common.yaml_nodes import Key
from fin_plugins.data.normalise import normalise

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
        """Some of its rows, for a message."""
        return listed_rows([self.names[number] for number in numbers])


def listed_rows(names: Sequence[str]) -> str:
    """`row 4`, or `rows 4, 9, 12 and 7 more`."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"row{'s' if len(names) > 1 else ''} {', '.join(names[:_SHOWN])}{more}"


@dataclass(frozen=True)
class Rows:
    """A task's rows.

    Attributes:
        kind: the user's `own` table; a data set that is `shipped`, or its embedded `sample`; a `plain` task of
            lm-eval's that names local files.
        splits: by name.
        labels: the value in the data, and the word that the model is asked for; None where that is not known.
        labels_key: where the list stands in the task file; its items are numbered unless it is a mapping.
        labels_named: whether it is a mapping.
        telling: columns of the documents that tell the right answer.
        called: what the template calls a column of the data that has another name there.
        one_table: whether row names count on through all splits.
        cut: whether the splits are cut by the loader, which keeps equal texts together.
    """

    kind: Kind
    splits: Mapping[str, Split]
    labels: Mapping[str, str] | None = None
    labels_key: Key = ()
    labels_named: bool = False
    telling: frozenset[str] = frozenset()
    called: Mapping[str, str] = field(default_factory=dict)
    one_table: bool = True
    cut: bool = False

    def key_of(self, value: str) -> Key:
        """Where a label stands in the task file."""
        return (*self.labels_key, value if self.labels_named else list(self.labels or ()).index(value))

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
        facts: what the user should know though it is no mistake: how many rows a split has, and what it lacks.
    """

    rows: Rows | None = None
    problems: Sequence[tuple[str, Key, str]] = field(default=())
    note: str | None = None
    facts: Sequence[str] = field(default=())
