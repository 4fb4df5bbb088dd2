"""The committed JSON Schemas are up to date; bundled files satisfy them, and files with a mistake do not."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from fin_plugins.authoring.json_schemas import schemas
from fin_plugins.cli.main import fin
from fin_plugins.common.locations import experiment_folder, task_folder, training_folder
from fin_plugins.tasks.task_config import SCHEMA_URL
from tests.conftest import ROOT

TASKS = sorted(task_folder().rglob("*.yaml"))
TRAINING = sorted(training_folder().glob("*.yaml"))
EXPERIMENTS = sorted(experiment_folder().glob("*.yaml"))

KINDS = ("task", "training", "experiment")


class EditorLoader(yaml.SafeLoader):
    """YAML 1.2, in which 1e-3 is a number; `!function` values are text."""


EditorLoader.add_constructor("!function", lambda loader, node: node.value)
EditorLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^\d+e-?\d+$"), list("0123456789"))


def read(text: str) -> Any:
    return yaml.load(text, EditorLoader)


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    all_schemas = schemas()
    for schema in all_schemas.values():
        Draft202012Validator.check_schema(schema)
    return {name.removesuffix(".schema.json"): Draft202012Validator(schema) for name, schema in all_schemas.items()}


def problems(validator: Draft202012Validator, text: str) -> list[str]:
    return [error.json_path for error in validator.iter_errors(read(text))]


def test_committed_schemas_are_up_to_date(tmp_path: Path) -> None:
    done = CliRunner().invoke(fin, ["task", "schema", "--write", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {file.name for file in (ROOT / "schema").iterdir()} == {f"{name}.schema.json" for name in KINDS}
    for name in names:
        assert (tmp_path / name).read_text() == (ROOT / "schema" / name).read_text(), "fin task schema --write schema"
    assert json.loads((ROOT / "schema" / "task.schema.json").read_text())["$id"] == SCHEMA_URL


@pytest.mark.parametrize("file", TASKS, ids=lambda file: file.stem)
def test_bundled_task_files_are_valid_and_name_the_schema(
    file: Path, validators: dict[str, Draft202012Validator]
) -> None:
    text = file.read_text(encoding="utf-8")
    assert problems(validators["task"], text) == []
    start, _, named = text.splitlines()[0].partition("=")
    assert start == "# yaml-language-server: $schema" and (file.parent / named).resolve().is_file()


@pytest.mark.parametrize(
    ("kind", "file"),
    [*(("training", file) for file in TRAINING), *(("experiment", file) for file in EXPERIMENTS)],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_bundled_training_and_experiment_files_are_valid_and_name_the_schema(
    kind: str, file: Path, validators: dict[str, Draft202012Validator]
) -> None:
    text = file.read_text(encoding="utf-8")
    assert problems(validators[kind], text) == []
    assert text.splitlines()[0].partition("=")[2] == schemas()[f"{kind}.schema.json"]["$id"]


CUSTOM_TASK = """\
task: mine
custom_dataset: !function fin_plugins.tasks.own.load
dataset_kwargs:
  file: rows.csv
  columns: {text: headline, label: sentiment}
  labels: {"0": dovish, "1": hawkish}
  splits: {test: 0.2}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
metric_list: !function fin_plugins.tasks.metrics.CHOICE
metadata: {version: 1.0, fin: {seen: false, source: rows.csv, licence: ours}}
"""


def test_a_task_with_a_custom_data_set(validators: dict[str, Draft202012Validator]) -> None:
    assert problems(validators["task"], CUSTOM_TASK) == []


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("test_split: test", "tset_split: test", "$"),
        ("multiple_choice", "multiple_choise", "$.output_type"),
        ("file: rows.csv", "fiel: rows.csv", "$.dataset_kwargs"),
        ("{test: 0.2}", "{test: 1.2}", "$.dataset_kwargs.splits"),
        ("text: headline", "texts: headline", "$.dataset_kwargs.columns"),
        ("seen: false, ", "", "$.metadata.fin"),
        ("seen: false", "seen: sometimes", "$.metadata.fin"),
        ("licence: ours", "license: ours", "$.metadata.fin"),
    ],
)
def test_mistakes_in_task_files(
    right: str, wrong: str, where: str, validators: dict[str, Draft202012Validator]
) -> None:
    assert any(path.startswith(where) for path in problems(validators["task"], CUSTOM_TASK.replace(right, wrong)))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("group: g\ntask: [a]\naggregate_metric_list: [{metric: acc, weight: 1}]", "$.aggregate_metric_list"),
        ("group: g\ntask: [a]\naggregat_metric_list: []", "$"),
        ("task: t\nfewshot_config: {sampeler: first_n}", "$.fewshot_config"),
        ("task: t\ndataset_kwargs: {labels: [a], alias: {}}\nmetadata: {fin: {rows: fomc, seen: yes}}", "$"),
    ],
)
def test_mistakes_in_groups_and_below(text: str, where: str, validators: dict[str, Draft202012Validator]) -> None:
    assert problems(validators["task"], "task: t\nfewshot_config: {sampler: first_n}") == []
    assert any(path.startswith(where) for path in problems(validators["task"], text))


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("tasks: [fin_fpb, {task: fin_fomc, cap: 3}]", True),
        ("replay: self", True),
        ("replay: off", True),
        ("validation: off", True),
        ("validation: {rows: 5}", True),
        ("chat_template: auto", True),
        ("lora: {r: 0}", False),
        ("lora: {rank: 8}", False),
        ("tasks: []", False),
        ("validation: maybe", False),
        ("learning_rate: high", False),
        ("epoch: 1", False),
    ],
)
def test_training_files(line: str, right: bool, validators: dict[str, Draft202012Validator]) -> None:
    text = f"model: demo\n{line}" + ("" if line.startswith("tasks") else "\ntasks: [fin_fpb]")
    assert (problems(validators["training"], text) == []) is right


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("models: {a: demo, b: {model: demo, fewshot: [0, 5]}}", True),
        ("training: {fomc: single_fomc, multi: {file: multi_seen, set: {epochs: 1}}}", True),
        ("merges: {m: {experts: [fomc], recipe: ties, weights: {fomc: 0.5}}}", True),
        ("merges: {m: {experts: [], recipe: ties}}", False),
        ("models: {a: {modle: demo}}", False),
        ("models: {a b: demo}", False),
        ("rows: {train: 0}", False),
        ("protocols: [guessing]", False),
        ("resources: {training: {cores: 2}}", False),
    ],
)
def test_experiment_files(line: str, right: bool, validators: dict[str, Draft202012Validator]) -> None:
    text = f"tasks: {{seen: [fin_fomc]}}\n{line}" + ("" if line.startswith("models") else "\nmodels: {a: demo}")
    assert (problems(validators["experiment"], text) == []) is right
