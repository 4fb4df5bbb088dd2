"""Splits that the task names and the data does not have."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.rows.model import Rows
from fin_plugins.common.foreign_files import get_in
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key

_KEYS: tuple[Key, ...] = (
    ("training_split",),
    ("validation_split",),
    ("test_split",),
    ("fewshot_split",),
    ("fewshot_config", "split"),
)
_SAID = ("files", "data_files", "splits", "split_column")


def check(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    """Rule D08."""
    for key in _KEYS:
        said = get_in(file.data, *key)
        if isinstance(said, str) and said not in rows.splits:
            there = ", ".join(f"{name} ({len(split.names):,} rows)" for name, split in rows.splits.items())
            mend = did_you_mean(said, rows.splits)
            yield file.finding("D08", key, f"the data has no split `{said}`{mend}; it has {there or 'none'}")


def scored(file: TaskFile, rows: Rows) -> str | None:
    """The split whose rows lm-eval scores; None where it is not there."""
    said = [file.data.get(key) for key in ("test_split", "validation_split")]
    return next((name for name in said if isinstance(name, str) and name in rows.splits), None)


def learnt(file: TaskFile, rows: Rows) -> list[str]:
    """The splits that training and few-shot examples take rows from."""
    said = [get_in(file.data, *key) for key in (("training_split",), ("fewshot_split",), ("fewshot_config", "split"))]
    return list(dict.fromkeys(name for name in said if isinstance(name, str) and name in rows.splits))


def key(file: TaskFile) -> Key:
    """Where the task file says how its rows are split."""
    settings = file.data.get("dataset_kwargs")
    said = [name for name in _SAID if isinstance(settings, dict) and name in settings]
    return ("dataset_kwargs", *said[:1])
