"""Rows as the rules see them: read without corrections, so that every problem is still there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fin_plugins.common.yaml_nodes import Key
from fin_plugins.data.text_hashes import normalise

if TYPE_CHECKING:
    import pandas as pd

RowSource = Literal["custom", "bundled", "sample", "local"]

_MAX_DOCUMENTS = 2_000
"""Documents per split that are rendered and tokenised."""
_SAMPLE_SEED = 42
_MAX_LISTED = 3


@dataclass(frozen=True)
class SplitRows:
    """The rows of one split; all sequences except `documents` are parallel.

    Attributes:
        names: name of each row in messages: its number below the header, or its id.
        values: label of each row as in the data; None if the label column is unknown.
        texts: text of each row; None if the text column is unknown.
        extra: further columns that distinguish rows with the same text.
        documents: what the template sees, for a sample of the rows with a listed label.
    """

    names: Sequence[str]
    values: Sequence[str] | None
    texts: Sequence[str] | None
    extra: Sequence[tuple[str, ...]]
    documents: Sequence[Mapping[str, Any]]

    @cached_property
    def normalised(self) -> list[str]:
        """The texts in the form in which they are compared."""
        return [normalise(text) for text in self.texts or ()]

    def format_rows(self, indices: Sequence[int]) -> str:
        """Some rows, for a message."""
        return format_row_names([self.names[index] for index in indices])


def format_row_names(names: Sequence[str]) -> str:
    """`row 4`, or `rows 4, 9, 12 and 7 more`."""
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return f"row{'s' if len(names) > 1 else ''} {', '.join(names[:_MAX_LISTED])}{more}"


@dataclass(frozen=True)
class TaskRows:
    """The rows of a task.

    Attributes:
        source: the user's `custom` table; a `bundled` data set or its embedded `sample`; `local` files that a plain
            lm-eval task names.
        splits: rows by split.
        labels: the word that the model is asked for, by value in the data; None if unknown.
        labels_key: key of the labels in the task file.
        labels_are_mapping: whether that is a mapping, not a list.
        answer_columns: columns of the documents that reveal the right answer.
        renamed: name in the template by name in the data, for columns that the loader renames.
        has_unique_row_names: whether row names are unique across all splits.
        cut_by_loader: whether the loader cuts the splits, which keeps equal texts together.
    """

    source: RowSource
    splits: Mapping[str, SplitRows]
    labels: Mapping[str, str] | None = None
    labels_key: Key = ()
    labels_are_mapping: bool = False
    answer_columns: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    has_unique_row_names: bool = True
    cut_by_loader: bool = False

    def label_key(self, value: str) -> Key:
        """Key of a label in the task file."""
        return (*self.labels_key, value if self.labels_are_mapping else list(self.labels or ()).index(value))

    @property
    def columns(self) -> list[str]:
        """The names that a template may use."""
        documents = (document for split in self.splits.values() for document in split.documents[:1])
        return list(dict.fromkeys(name for document in documents for name in document))


class RowProblem(NamedTuple):
    """A finding without a location, because several files may share the rows."""

    code: str
    key: Key
    message: str


@dataclass(frozen=True)
class RowsResult:
    """The result of reading a task's rows.

    Attributes:
        rows: the rows; None if they could not be read.
        problems: what is wrong with the data files.
        note: why the rows were not read, if nothing is wrong.
        facts: remarks on valid rows: how many each split has, and which labels are missing.
    """

    rows: TaskRows | None = None
    problems: Sequence[RowProblem] = ()
    note: str | None = None
    facts: Sequence[str] = ()


def fin_split(
    names: list[str],
    frame: "pd.DataFrame",
    values: list[str],
    extra: Sequence[str],
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
) -> SplitRows:
    """A split of a fin task.

    Args:
        names: name of each row.
        frame: rows with `text`, `label` (the word that the model is asked for) and further columns.
        values: label of each row as in the data.
        extra: further columns that the template may show.
        labels: the label words, in order.
        aliases: aliases by label word.
    """
    from fin_plugins.tasks.documents import make_documents

    labelled = sample_rows(frame[frame["label"].isin(list(labels))])
    prepared, _ = make_documents(labelled, ["text", *extra], labels, aliases, "real")
    extra_cells = list(zip(*(frame[name] for name in extra), strict=True)) if extra else [()] * len(frame)
    return SplitRows(names, values, list(frame["text"]), extra_cells, to_records(prepared))


def sample_rows(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows, or a fixed random sample if there are too many to render."""
    return frame.sample(_MAX_DOCUMENTS, random_state=_SAMPLE_SEED) if len(frame) > _MAX_DOCUMENTS else frame


def to_records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """One dictionary per row."""
    columns = [str(name) for name in frame.columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*(frame[name] for name in frame.columns), strict=True)]


def file_stamp(path: Path) -> tuple[str, int, int]:
    """Path, modification time and size: a cache key that changes when the file is rewritten."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return str(path), 0, 0
    return str(path), stat.st_mtime_ns, stat.st_size
