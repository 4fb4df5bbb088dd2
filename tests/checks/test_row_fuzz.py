"""Whatever a table or a key holds, the checker gives findings and never raises an error."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.checks.findings import all_rules
from fin_plugins.checks.runner import CheckOptions, check_task_rows
from fin_plugins.checks.task_file import TaskFile
from fin_plugins.common.yaml_nodes import Function

CODES = {code for code in all_rules() if code[0] in "DPT"}
BASE: dict[str, Any] = {
    "task": "one",
    "custom_dataset": Function("fin_plugins.tasks.own.load"),
    "output_type": "multiple_choice",
    "training_split": "train",
    "test_split": "test",
    "doc_to_text": "Up or down? {{text}}",
    "doc_to_choice": "choices",
    "doc_to_target": "gold",
    "gen_prefix": "label:",
    "dataset_kwargs": {"file": "rows.csv", "labels": ["up", "down"], "splits": {"test": 0.4}},
    "metadata": {"version": 1.0, "fin": {"rows": "fomc", "seen": False, "source": "none", "licence": "none"}},
}
CELLS = st.sampled_from(["", " ", "up", "down", "UP", "1", "1.0", "nan", "train", "test", "{{text}}", "é", "a,b", '"'])
LABEL = st.sampled_from(["up", "down", " up", "1", "1.0", ""])
PART = st.sampled_from(["train", "test", "dev", "tset", ""])
TABLES = st.lists(st.tuples(CELLS | st.text(max_size=6), LABEL, PART), max_size=14)
HEADS = st.sampled_from(
    [("text", "label", "part"), ("label", "text", "id"), ("text", "text", "x"), ("", "label", "row")]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | CELLS | st.text(max_size=8)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3), max_leaves=6
)
SPLIT = st.fixed_dictionaries({"splits": st.fixed_dictionaries({"test": st.floats(0.01, 0.9)})}) | st.just(
    {"split_column": "part"}
)
LABELS = st.just(["up", "down"]) | st.lists(CELLS.filter(bool), max_size=4) | st.just({"1": "up", "up": "down"})
COLUMNS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["text", "x"]),
        "label": st.sampled_from(["label", "text"]),
        "also": st.lists(st.sampled_from(["part", "row", "id"]), max_size=2),
    },
)
SETTINGS = st.builds(
    lambda split, labels, columns: {"file": "rows.csv", "labels": labels, "columns": columns, **split},
    SPLIT,
    LABELS,
    COLUMNS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check_data(folder: Path, data: dict[str, Any]) -> None:
    path = folder / "one.yaml"
    findings, note = check_task_rows(TaskFile(path, str(path), "task", data, {}), CheckOptions())
    assert {finding.code for finding in findings} <= CODES
    assert all("\n" not in str(finding) for finding in findings)
    assert note is None or note


@given(HEADS, TABLES, SETTINGS)
@settings(max_examples=60, deadline=None)
def test_tables_and_settings(folder, head, rows, given_settings):
    text = StringIO()
    csv.writer(text).writerows([head, *rows])
    (folder / "rows.csv").write_bytes(text.getvalue().encode("utf-8", "replace"))
    check_data(folder, BASE | {"dataset_kwargs": given_settings})


@given(st.binary(max_size=60), st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx", ".odd", ""]))
@settings(max_examples=60, deadline=None)
def test_files_of_any_bytes(folder, content, ending):
    (folder / f"any{ending}").write_bytes(content)
    own = BASE["dataset_kwargs"] | {"file": f"any{ending}"}
    check_data(folder, BASE | {"dataset_kwargs": own})
    plain = {key: value for key, value in BASE.items() if key != "custom_dataset"}
    for kind in ("csv", "json", "parquet"):
        files = {"data_files": {"test": str(folder / f"any{ending}")}}
        check_data(folder, plain | {"dataset_path": kind, "dataset_kwargs": files})


@given(st.dictionaries(st.sampled_from(sorted({*BASE, "description", "fewshot_config", "dataset_path"})), VALUES))
@settings(max_examples=80, deadline=None)
def test_values_of_any_kind(folder, embedded, changes):
    (folder / "rows.csv").write_text("text,label\nIt rose.,up\nIt fell.,down\nIt rose again.,up\n", encoding="utf-8")
    check_data(folder, BASE | changes)
    check_data(folder, BASE | {"custom_dataset": Function("fin_plugins.tasks.rows.load")} | changes)


@pytest.fixture(scope="module")
def embedded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_DATA", "sample")
        yield patch
