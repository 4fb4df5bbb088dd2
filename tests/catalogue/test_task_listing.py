"""Listing a folder of arbitrary files raises no error."""

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.catalogue.task_listing import format_tasks, list_task
from fin_plugins.catalogue.task_search import search_tasks
from tests.catalogue.task_fixtures import GENERATIVE_YAML, ROWS, TASK_YAML

LINES = TASK_YAML.format(name="moods").splitlines()
VALUES = [
    "",
    "null",
    "[]",
    "{}",
    "[1, {a: b}]",
    "{a: [b]}",
    "-1",
    "yes",
    "!function a.b",
    "!!set {a}",
    '"\\0"',
    "&a [*a]",
]
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def list_folder(content: bytes) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "moods.yaml").write_bytes(content)
        (folder / "moods_gen.yaml").write_text(GENERATIVE_YAML.format(name="moods"), encoding="utf-8")
        (folder / "group.yaml").write_text("group: g\ntask: [moods, moods_gen]\n", encoding="utf-8")
        (folder / "rows.csv").write_text(ROWS, encoding="utf-8")
        with mock.patch("fin_plugins.catalogue.task_search.task_folder", return_value=folder):
            return format_tasks([list_task(task) for task in search_tasks(()).tasks.values()])


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    list_folder(content)


@QUICK
@given(st.integers(0, len(LINES) - 1), st.sampled_from(VALUES), st.sampled_from(["replace", "drop", "twice"]))
def test_changed_lines(number: int, value: str, change: str) -> None:
    key = LINES[number].split(":")[0]
    changed = {"replace": [f"{key}: {value}"], "drop": [], "twice": [LINES[number]] * 2}[change]
    list_folder("\n".join([*LINES[:number], *changed, *LINES[number + 1 :]]).encode())


def test_the_unchanged_folder_lists_both() -> None:
    assert list_folder(TASK_YAML.format(name="moods").encode()).count("2 labels") == 2
