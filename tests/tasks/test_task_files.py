"""Properties of every bundled task file, and the dotted paths that users' task files rely on."""

import json
import re
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from fin_plugins.common.locations import task_folder

FOLDER = task_folder() / "fin"
OWN = sorted(file for file in FOLDER.glob("fin_*.yaml") if not file.stem.endswith("_gen"))


class Loader(yaml.SafeLoader):
    """Safe, with `!function` kept as text."""


Loader.add_constructor("!function", lambda loader, node: str(node.value))


def read(file: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader)
    return config


def card(file: Path) -> dict[str, Any]:
    key = read(file)["metadata"]["fin"]["rows"]
    return json.loads((files("fin_plugins.data") / "cards" / f"{key}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.stem)
def test_metadata_is_complete_and_agrees_with_the_card(file: Path) -> None:
    metadata = read(file)["metadata"]
    fin, data = metadata["fin"], card(file)
    assert isinstance(metadata["version"], float)
    assert fin["language"] == "en"
    assert file.stem == read(file)["task"] == data["task"]
    assert (fin["seen"], fin["licence"], fin["source"]) == (data["seen"], data["licence"], data["upstream"])
    assert fin["citation"].startswith(data["citation"]) and "https://" in fin["citation"]


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.stem)
def test_labels_agree_with_the_card(file: Path) -> None:
    config = read(file)
    while "dataset_kwargs" not in config:  # a variant: the included file has the labels
        config = read(FOLDER / config["include"])
    assert sorted(config["dataset_kwargs"]["labels"]) == sorted(card(file)["labels"])


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.stem)
def test_generation_twin_includes_the_task_and_adds_nothing(file: Path) -> None:
    twin = read(file.with_name(f"{file.stem}_gen.yaml"))
    assert twin == {"include": [file.name, "_gen"], "task": f"{file.stem}_gen"}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("_group_*.yaml")), ids=lambda file: file.stem)
def test_groups_list_leaf_tasks_and_give_their_unweighted_mean(file: Path) -> None:
    group = read(file)
    assert file.stem == f"_group_{group['group']}"
    assert all((FOLDER / f"{task}.yaml").is_file() for task in group["task"])
    assert not {"fin_finred_paper", "fin_causal_full"} & {task.removesuffix("_gen") for task in group["task"]}
    assert all(entry["weight_by_size"] is False for entry in group["aggregate_metric_list"])


def test_no_file_names_an_absolute_path() -> None:
    for file in FOLDER.iterdir():
        assert " /" not in file.read_text(encoding="utf-8").replace(" / ", " "), file


STABLE_PATHS = {
    "fin_plugins.tasks.rows.load",
    "fin_plugins.tasks.own.load",
    "fin_plugins.tasks.results.score_choice",
    "fin_plugins.tasks.results.score_reply",
    "fin_plugins.tasks.metrics.CHOICE",
    "fin_plugins.tasks.metrics.REPLY",
}
"""Users' task files name these, and `fin run` hashes them into its step keys: they must not be renamed."""
AGGREGATIONS = {
    f"fin_plugins.tasks.results.{metric}{error}"
    for metric in ("weighted_f1", "macro_f1", "mcc")
    for error in ("", "_stderr")
}


@pytest.mark.parametrize("path", sorted(STABLE_PATHS | AGGREGATIONS))
def test_paths_in_users_task_files_exist(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(import_module(module), name)


def test_bundled_files_name_no_other_function() -> None:
    named = {path for file in FOLDER.iterdir() for path in re.findall(r"!function (\S+)", file.read_text())}
    assert named == STABLE_PATHS - {"fin_plugins.tasks.own.load"}
