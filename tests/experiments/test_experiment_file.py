"""Reading experiment files: content, changes, paths; and any damaged file is an experiment or a list of problems."""

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems
from fin_plugins.experiments.experiment_file import read_experiment
from tests.conftest import ROOT
from tests.experiments.experiment_factories import VALID

TASK = ROOT / "examples" / "headlines"
TRAINING = "model: demo\ntasks: [{task: headlines.yaml, cap: 3}, fin_fpb]\nreplay: {source: rows.jsonl}\n"


def test_content(file: Path) -> None:
    experiment = read_experiment(str(file))
    config = experiment.config
    assert (experiment.name, experiment.output) == ("mine", Path("results/run/mine"))
    assert config.models["small"].model == "demo" and config.models["large"].settings == {"max_length": 512}
    assert config.training["fomc"].file == "single_fomc" and config.training["fomc"].set == {}
    assert config.merges["ties"].weights == {"fomc": 0.7} and config.merges["best"].recipe is None
    assert (config.seeds, config.fewshot, config.rows.data) == ([1, 2], [0, 5], "real")


def test_settings_change_keys(file: Path) -> None:
    changes = ["rows.test=5", "models.small.score=false", "training.fomc.set.epochs=3", "models.large=demo"]
    config = read_experiment(str(file), changes).config
    assert config.rows.test == 5 and config.rows.train == 40
    assert config.models["small"].model == "demo" and not config.models["small"].score
    assert (config.training["fomc"].file, config.training["fomc"].set) == ("single_fomc", {"epochs": 3})
    assert config.models["large"].model == "demo"


def test_an_unknown_name_is_reported_with_a_suggestion() -> None:
    with pytest.raises(FinError, match=r"smollm: .*smollm2"):
        read_experiment("smollm")


def test_nothing_heavy_is_imported_without_merges(file: Path) -> None:
    file.write_text("models: {a: demo}\ntasks: {seen: [fin_fomc]}\ntraining: {fomc: single_fomc}\n")
    code = (
        "import sys; from fin_plugins.experiments.experiment_file import read_experiment; "
        f"read_experiment({str(file)!r}); "
        "print([name for name in ('torch', 'lm_eval', 'mergekit', 'pandas', 'datasets') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"


@pytest.fixture
def two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a training file and a task; returns a second folder like it, for an experiment."""
    for part in ("here", "there"):
        (tmp_path / part / "model").mkdir(parents=True)
        for file in TASK.iterdir():
            (tmp_path / part / file.name).write_bytes(file.read_bytes())
        (tmp_path / part / "rows.jsonl").touch()
        (tmp_path / part / "mine.yaml").write_text(TRAINING)
        (tmp_path / part / "soup.yaml").write_text((TASK.parents[1] / "merge_recipes" / "ties.yaml").read_text())
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "there"


def experiment(folder: Path, **changes: object) -> str:
    data = {
        "models": {"a": "./model", "b": "model/../model", "c": "owner/name"},
        "tasks": {"seen": ["headlines.yaml", "fin_fomc"]},
        "training": {"own": "mine.yaml", "fomc": "single_fomc"},
        "merges": {
            "soup": {"experts": ["own", "fomc"], "recipe": "soup.yaml"},
            "best": {"experts": ["own", "fomc"], "search": {"unlabelled": "rows.jsonl"}},
        },
    }
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(data | changes))
    return str(file)


def test_paths_in_the_file_are_relative_to_it(two_folders: Path) -> None:
    training = {"own": "mine.yaml", "fomc": {"file": "single_fomc", "set": {"tasks": ["./headlines.yaml"]}}}
    merges = {"soup": {"experts": ["own", "fomc"], "recipe": "soup.yaml"}}
    config = read_experiment(experiment(two_folders, training=training, merges=merges)).config
    assert {name: model.model for name, model in config.models.items()} == {
        "a": f"{two_folders}/model",
        "b": f"{two_folders}/model/../model",
        "c": "owner/name",
    }
    assert config.tasks.seen == [f"{two_folders}/headlines.yaml", "fin_fomc"]
    assert config.training["own"].file == f"{two_folders}/mine.yaml"
    assert config.merges["soup"].recipe == f"{two_folders}/soup.yaml"
    assert config.training["fomc"].set["tasks"] == [f"{two_folders}/headlines.yaml"]


def test_paths_of_a_search_are_relative_to_the_file(two_folders: Path) -> None:
    search = read_experiment(experiment(two_folders)).config.merges["best"].search
    assert search == {"unlabelled": f"{two_folders}/rows.jsonl"}


def test_paths_in_settings_are_relative_to_the_working_directory(two_folders: Path) -> None:
    settings = ["training.own.file=mine.yaml", "models.a=./model", "tasks.seen.0=headlines.yaml"]
    config = read_experiment(experiment(two_folders), settings).config
    here = Path.cwd()
    assert config.training["own"].file == f"{here}/mine.yaml" and config.models["a"].model == f"{here}/model"
    assert config.tasks.seen[0] == f"{here}/headlines.yaml"


def test_paths_in_a_training_file_mean_the_same_as_for_fin_train(two_folders: Path) -> None:
    config = read_experiment(experiment(two_folders)).config
    assert config.training["own"].set == {
        "tasks": [{"task": f"{Path.cwd()}/headlines.yaml", "cap": 3}, {"task": "fin_fpb"}],
        "replay": {"source": f"{Path.cwd()}/rows.jsonl"},
    }
    assert config.training["fomc"].set == {}


DATA = yaml.safe_load(VALID)
GARBAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from(
        ["", "~nobody/x", "fin_x", "./x", "x.yaml", "a b", "é\n", "x" * 300, "fin_fomc", "ties", "${expert}"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["model", "file", "x"]), st.sampled_from([1, "demo", None]), max_size=2),
)


def all_keys(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [key for name, child in items for key in ((*above, name), *all_keys(child, (*above, name)))]


def change(key: tuple[Any, ...], how: str, value: Any) -> dict[str, Any]:
    data = deepcopy(DATA)
    parent: Any = data
    for part in key[:-1]:
        parent = parent[part]
    if how == "drop":
        del parent[key[-1]]
    elif how == "rename" and isinstance(parent, dict):
        parent[f"{key[-1]}x"] = parent.pop(key[-1])
    else:
        # Other names would be searched among lm-eval's thousands of tasks, which takes seconds.
        parent[key[-1]] = f"fin_{value}" if key[0] == "tasks" and isinstance(value, str) else value
    return data


def read_or_problems(file: Path, settings: list[str]) -> None:
    try:
        read_experiment(str(file), settings)
    except Problems as error:
        assert error.problems and all("\n" not in str(problem) for problem in error.problems)
        assert all(problem.file.startswith(("mine.yaml", "--set")) for problem in error.problems)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(all_keys(DATA)), st.sampled_from(["drop", "rename", "replace", "replace"]), GARBAGE)
def test_any_change_in_the_file(file: Path, key: tuple[Any, ...], how: str, value: Any) -> None:
    file.write_text(yaml.safe_dump(change(key, how, value), allow_unicode=True))
    read_or_problems(file, [])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(all_keys(DATA)),
    st.sampled_from(["", "3", "[1]", "{a: 1}", "~x", "fin_x", "!!python/name:os.system 1", "[", "null", ".nan"]),
)
def test_any_change_behind_set(file: Path, key: tuple[Any, ...], value: str) -> None:
    read_or_problems(file, [f"{'.'.join(map(str, key))}={value}"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(FinError):
        read_experiment(str(file))
