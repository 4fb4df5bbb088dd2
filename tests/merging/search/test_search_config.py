"""Search files: all faults are reported at once, and what cannot be searched is refused before any work."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from fin_plugins.common.bundled import MERGE_SEARCHES
from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems
from fin_plugins.merging.search.search_config import read_search
from tests.merging.model_factories import ADAPTER_CONFIG, change_config
from tests.merging.search.search_factories import SearchWorld

WRONG = """\
base: demo
experts:
  one: {path: nowhere, tasks: [fin_fomc]}
  two: {path: ., tasks: [fin_fomcc], weigth: {low: 0.1}}
sampler: randm
candidates: 0
weights: {low: 0.9, high: 0.5}
floor: {leave_out: .nan}
unlabelled: none.jsonl
"""


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG, encoding="utf-8")
    with pytest.raises(Problems) as error:
        read_search(str(file))
    message = str(error.value).replace(str(file), "F")
    for line in (
        "F:3:9 experts.one.path: nowhere: no such folder",
        "fin_fomcc: no such task (did you mean fin_fomc?)",
        "F:4:38 experts.two.weigth: no such key",
        "F:5:1 sampler: should be random or grid or cma (did you mean random?)",
        "F:6:1 candidates: should be greater than 0",
        "F:7:21 weights.high: should be above low, 0.9",
        "F:8:9 floor.leave_out: should be a finite number",
        "F:9:1 unlabelled: none.jsonl: no such file",
    ):
        assert line in message
    assert message.startswith("8 problems\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "grid", "candidates": 3}, "set steps"),
        ({"steps": 3}, "`sampler: grid`"),
        ({"model_args": {"pretrained": "x"}}, "pretrained"),
        ({"metric": "f1"}, "should be macro_f1 or weighted_f1"),
    ],
)
def test_rules_between_keys(world: SearchWorld, change: dict[str, Any], message: str) -> None:
    assert message in str(world.search("ruled", **change).exception)


def test_a_task_belongs_to_one_expert(world: SearchWorld) -> None:
    experts = world.settings["experts"]
    experts["two"]["tasks"] = experts["one"]["tasks"]
    assert "first.yaml: named twice" in str(world.search("shared", experts=experts).exception)


@pytest.mark.parametrize("recipe", ["ties", "dare_linear", "slerp"])
def test_a_recipe_that_is_not_a_weighted_sum_is_refused(world: SearchWorld, recipe: str) -> None:
    result = world.search("bent", recipe=recipe)
    assert isinstance(result.exception, FinError)
    assert "is not a weighted sum of whole experts" in str(result.exception) and not (world.folder / "bent").exists()


def test_weights_divided_by_their_sum_must_be_positive(world: SearchWorld) -> None:
    result = world.search("average", recipe="linear")
    assert "for one, two set low above 0" in str(result.exception)
    result = world.search("average", "--json", recipe="linear", weights={"low": 0.1, "high": 1.0}, candidates=2)
    assert result.exit_code == 0 and json.loads(result.stdout)["best"]
    factors = json.loads((world.folder / "average" / "best" / "merge.json").read_text())["experts"]
    assert all(0.1 <= expert["parameters"]["weight"] <= 1 for expert in factors)


def test_adapters_of_another_kind_or_base_are_refused(world: SearchWorld, tmp_path: Path) -> None:
    experts = world.settings["experts"]
    for settings, message in (
        ({"use_dora": True}, "DoRA"),
        ({"base_model_name_or_path": "somebody/else"}, "somebody/else"),
    ):
        folder = tmp_path / next(iter(settings))
        shutil.copytree(world.folder / "one", folder)
        change_config(folder / ADAPTER_CONFIG, **settings)
        experts["one"]["path"] = str(folder)
        assert message in str(world.search("odd", experts=experts).exception)


def test_bundled_files_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("single_fomc", "single_sentiment"):
        (tmp_path / "results" / "train" / name).mkdir(parents=True)
    assert list(MERGE_SEARCHES.files()) == ["pair"]
    config = read_search("pair", ["sampler=cma", "experts.fomc.weight={low: 0.2, high: 0.3}"]).config
    assert config.sampler == "cma" and config.count == 20
    assert {name: (it.low, it.high) for name, it in config.ranges().items()} == {
        "fomc": (0.2, 0.3),
        "sentiment": (0.0, 1.0),
    }
    with pytest.raises(FinError, match=r"pear: no such file or shipped search \(did you mean pair\?\)"):
        MERGE_SEARCHES.find("pear")


def test_list_and_copy(tmp_path: Path) -> None:
    listed = CliRunner().invoke(fin, ["merge", "search", "--list"])
    assert listed.exit_code == 0 and listed.stdout.startswith("pair  ")
    copied = CliRunner().invoke(fin, ["merge", "search", "pair", "--copy", str(tmp_path / "my.yaml")])
    assert copied.exit_code == 0 and (tmp_path / "my.yaml").read_bytes() == MERGE_SEARCHES.find("pair").read_bytes()
    assert "search" in CliRunner().invoke(fin, ["merge", "--help"]).stdout
