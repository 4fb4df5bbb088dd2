"""Loading training files: all problems at once, each at its line or at the `--set` that caused it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.common.bundled import TRAINING_CONFIGS, about
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import training_folder
from fin_plugins.common.yaml_file import Problems
from fin_plugins.training.config_loading import Override, read_config
from tests.conftest import ROOT

PLAIN = "model: demo\ntasks: [fin_fomc, {task: fin_fpb, cap: 9}]\nreplay: self\nlora: {r: 4}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("my.run.yaml")
    path.write_text(PLAIN)
    return path


def problems(file: Path, text: str, *overrides: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(Problems) as error:
        read_config(str(file), overrides)
    return [str(problem) for problem in error.value.problems]


def test_a_good_file(file: Path) -> None:
    read = read_config(str(file))
    assert (read.name, read.source, read.config.lora.r) == ("my.run", file, 4)
    assert read.resolved["lora"] == {"r": 4, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
    assert read.resolved["tasks"][1] == {"task": "fin_fpb", "cap": 9, "weight": None, "repeat": 1}


BAD = """\
modle: demo
tasks:
  - fin_fomcc
  - {task: fin_fpb, cap: 0}
  - tasks/gone.yaml
  - {task: fin_fpb, weight: 1}
  - fin_fiqa
lora:
  rr: 16
  r: 8
  r: 9
method: !!python/name:os.system x
replay: {source: self, instructions: gone.jsonl}
output: my.run.yaml/x
loss: all
batching: shared_prefix
"""


def test_all_problems_at_once_with_their_places(file: Path) -> None:
    found = problems(file, BAD, "lora.alhpa=3", "seed=x", "dtype")
    starts = [
        "--set dtype: should be KEY=VALUE",
        "--set lora.alhpa=3: no such key (did you mean alpha?)",
        "--set seed=x: should be a valid integer",
        "my.run.yaml:1:1 model: is missing: Base model",
        "my.run.yaml:1:1 modle: no such key (did you mean model?)",
        "my.run.yaml:2:1 tasks: give every task a weight, or none",
        "my.run.yaml:3:5 tasks.0: fin_fomcc: no such task (did you mean fin_fomc?)",
        "my.run.yaml:4:21 tasks.1.cap: should be greater than 0",
        "my.run.yaml:5:5 tasks.2: tasks/gone.yaml: no such task file",
        "my.run.yaml:6:6 tasks.3.task: given twice",
        "my.run.yaml:9:3 lora.rr: no such key (did you mean r?)",
        "my.run.yaml:11:3 lora.r: duplicate key",
        "my.run.yaml:12:9 method: the tag !!python/name:os.system is not allowed here",
        "my.run.yaml:13:24 replay.instructions: gone.jsonl: no such file",
        "my.run.yaml:14:1 output: my.run.yaml is a file: name a folder",
        "my.run.yaml:16:1 batching: shared_prefix computes",
    ]
    assert len(found) == len(starts), "\n".join(found)
    for line, start in zip(found, starts, strict=True):
        assert line.startswith(start)


def test_the_message_has_a_line_for_each(file: Path) -> None:
    file.write_text("model: demo\ntasks: [fin_fomc]\nsede: 1\nlorra: 2\n")
    with pytest.raises(FinError) as error:
        read_config(str(file))
    assert str(error.value).splitlines() == [
        "2 problems",
        "my.run.yaml:3:1 sede: no such key (did you mean seed?)",
        "my.run.yaml:4:1 lorra: no such key (did you mean lora?)",
    ]


def test_nothing_heavy_is_imported_to_say_so(file: Path) -> None:
    file.write_text(BAD)
    code = (
        f"import sys\nfrom fin_plugins.training.config_loading import read_config\ntry: read_config({str(file)!r})\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print([m for m in ('numpy', 'pandas', 'lm_eval', 'torch', 'transformers', 'trl', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["Problems", "[]"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("replay", "gone.jsonl", "gone.jsonl: no such file"),
        ("replay", "a/b/c", "a/b/c: no such file"),
        ("replay", "Slef", "Slef: no such file (did you mean self?)"),
        ("replay", "rows.csv", "rows.csv: should end in .json or .jsonl"),
        ("replay", "rows.jsonl", None),
        ("replay", "Open-Orca/OpenOrca", None),
        ("model", "rows.csv", "rows.csv: a file; a model is a folder or a hub name"),
        ("model", "~/models/x", "~/models/x: no such folder"),
        ("model", "folder", None),
        ("model", "owner/name", None),
        ("tasks", "[./own.yaml]", None),
        ("tasks", "[./gone.yml]", "./gone.yml: no such task file"),
        ("tasks", "[fin_seen]", None),
        ("tasks", "[fin_sen]", "fin_sen: no such task (did you mean fin_seen?)"),
        ("tasks", "[fin_]", "fin_: no such task"),
        ("output", "folder/new", None),
        ("output", "rows.csv", "rows.csv is a file: name a folder"),
        ("output", "x" * 5000, None),
    ],
)
def test_what_is_named_must_be_there(file: Path, key: str, value: str, message: str | None) -> None:
    for name in ("rows.csv", "rows.jsonl", "own.yaml"):
        Path(name).touch()
    Path("folder").mkdir()
    text = "".join(f"{k}: {v}\n" for k, v in {"model": "demo", "tasks": "[fin_fomc]", key: value}.items())
    if message is None:
        file.write_text(text)
        assert read_config(str(file)).name == "my.run"
    else:
        (found,) = problems(file, text)
        assert f": {message}" in found


@pytest.mark.parametrize("source", ["invented", pytest.param("lm-eval", marks=pytest.mark.prove)])  # 5 s and more
def test_other_tasks_must_be_known_to_lm_eval(source: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if source == "invented":
        monkeypatch.setattr("fin_plugins.training.config_checks.all_task_names", lambda: frozenset({"sst2"}))
    file.write_text("model: demo\ntasks: [sst2]\n")
    assert read_config(str(file)).config.tasks[0].task == "sst2"
    (found,) = problems(file, "model: demo\ntasks: [sst22]\n")
    assert found.startswith("my.run.yaml:2:9 tasks.0: sst22: no such task") and "sst2?" in found


def test_no_such_file(file: Path) -> None:
    for name in ("single_fomcc", "training/single_fomcc.yaml"):
        with pytest.raises(
            FinError, match=r"no such file .*\(did you mean single_fomc\?\); shipped are cocktail, demo"
        ):
            read_config(name)
    with pytest.raises(FinError, match="is a folder, not a file"):
        read_config(".")


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        (["lora.r=16"], "lora.r", 16),
        (["lora.r=16", "lora.r=2"], "lora.r", 2),
        (["lora.target_modules=[q_proj,v_proj]"], "lora.target_modules", ["q_proj", "v_proj"]),
        (["model=mistralai/Mistral-7B-Instruct-v0.2"], "model", "mistralai/Mistral-7B-Instruct-v0.2"),
        (["replay=Open-Orca/OpenOrca"], "replay.source", "Open-Orca/OpenOrca"),
        (["replay.ratio=0.2"], "replay", {"source": "self", "ratio": 0.2}),
        (["replay=off"], "replay", None),
        (["validation=off"], "validation", None),
        (["validation.rows=3"], "validation.rows", 3),
        (["validation=off", "validation.rows=3"], "validation.rows", 3),
        (["learning_rate=1e-5"], "learning_rate", 1e-5),
        (["max_steps="], "max_steps", None),
        (["tasks.0.cap=5"], "tasks.0", {"task": "fin_fomc", "cap": 5}),
        (["tasks.1.cap=5"], "tasks.1", {"task": "fin_fpb", "cap": 5}),
        (["tasks=[fin_fiqa,{task: fin_finred, repeat: 2}]"], "tasks.1", {"task": "fin_finred", "repeat": 2}),
        (["model=a=b"], "model", "a=b"),
    ],
)
def test_changes(file: Path, changes: list[str], path: str, value: Any) -> None:
    found: Any = read_config(str(file), changes).resolved
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    assert value == (found if not isinstance(value, dict) else {key: found[key] for key in value})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("lora.rr=16", "--set lora.rr=16: no such key (did you mean r?)"),
        ("lora.r=0", "--set lora.r=0: should be greater than 0"),
        ("lora={r: 0}", "--set lora={r: 0} lora.r: should be greater than 0"),
        ("tasks=[fin_fomc,fin_x]", "--set tasks=[fin_fomc,fin_x] tasks.1: fin_x: no such task"),
        ("tasks.0.cap=-1", "--set tasks.0.cap=-1: should be greater than 0"),
        ("tasks.7.cap=1", "--set tasks.7.cap=1: tasks is a list of 2, counted from 0"),
        ("tasks.a=1", "--set tasks.a=1: tasks is a list of 2, counted from 0"),
        ("lora.0=1", "--set lora.0=1: lora has no key 0"),
        ("0=1", "--set 0=1: the file has no key 0"),
        ("model.a=1", "--set model.a=1: model has no key a"),
        ("replay=null", None),
        ("replay.source=./gone.jsonl", "--set replay.source=./gone.jsonl: ./gone.jsonl: no such file"),
        ("method=lorra", "--set method=lorra: should be lora or"),
        ("model=./gone", "--set model=./gone: ./gone: no such folder"),
        ("seed=[", "--set seed=[: while parsing"),
        ("seed", "--set seed: should be KEY=VALUE"),
        ("=3", "--set =3: should be KEY=VALUE"),
        ("lora..r=3", "--set lora..r=3: should be KEY=VALUE"),
        ("seed=!!python/name:os.system 1", "--set seed=!!python/name:os.system 1: the tag"),
    ],
)
def test_a_bad_change_is_named(file: Path, change: str, line: str | None) -> None:
    if line is None:
        assert read_config(str(file), [change]).config.replay is None
        return
    (found,) = problems(file, PLAIN, change)
    assert found.startswith(line)


def test_what_a_change_leaves_out_is_its_own_fault(file: Path) -> None:
    (found,) = problems(file, "model: demo\ntasks: [fin_fomc]\n", "replay.ratio=0.2")
    assert found.startswith("--set replay.ratio=0.2 replay.source: is missing")


def test_a_change_mends_the_file(file: Path) -> None:
    file.write_text("modle: demo\ntasks: [fin_fomc]\nlora: {r: 0}\n")
    (found,) = problems(file, "model: demo\ntasks: [gone.yaml]\nlora: {r: 0}\n", "lora.r=1")
    assert found.startswith("my.run.yaml:2:9 tasks.0: gone.yaml")


def test_flags_win_and_are_named(file: Path) -> None:
    Path("file").touch()
    flag = Override("--out out", ("output",), "out")
    assert read_config(str(file), ["output=other"], [flag]).config.output == "out"
    with pytest.raises(FinError) as error:
        read_config(str(file), [], [Override("--out file", ("output",), "file")])
    assert str(error.value) == "--out file: file is a file: name a folder"


KEYS = st.sampled_from(
    ["model", "tasks", "replay", "lora", "lora.r", "tasks.0", "tasks.0.cap", "validation", "x", "0", ""]
)
VALUES = st.one_of(
    st.sampled_from(["off", "self", "[fin_fomc]", "{task: fin_fomc}", "{", "1", "~"]), st.text(max_size=6)
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_any_changes_give_a_configuration_or_problems(
    file: Path, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr("fin_plugins.training.config_checks.all_task_names", frozenset)
    try:
        read_config(str(file), [f"{key}={value}" for key, value in changes])
    except Problems as error:
        assert all(line.startswith(("--set ", "my.run.yaml:")) for line in map(str, error.problems))


NAMES = {
    *("single_sentiment", "single_headline", "single_finred", "single_fomc", "multi_seen"),
    *("paper_2411.02476", "cocktail", "demo"),
}


def test_they_are_all_there() -> None:
    assert set(TRAINING_CONFIGS.files()) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_reads_without_a_problem_and_says_how_to_run_it(name: str) -> None:
    read = read_config(name)
    lines = read.source.read_text(encoding="utf-8").splitlines()
    assert read.name == name and len(lines) <= 26 and 20 < len(about(read.source)) < 120
    assert lines[2] == "#" and re.match(rf"#   (FIN_DATA=sample )?fin train {re.escape(name)}( |$)", lines[3])


def test_the_papers_setting() -> None:
    config = read_config("paper_2411.02476").config
    assert (config.lora.r, config.lora.alpha, config.lora.dropout, len(config.lora.target_modules)) == (32, 64, 0.05, 7)
    assert (config.batch_size * config.gradient_accumulation, config.learning_rate, config.epochs) == (8, 2e-4, 2)
    assert (config.scheduler, config.loss, config.batching, config.max_length) == ("constant", "all", "packed", 2048)
    assert config.validation is None and config.seed == 42 and len(config.tasks) == 5


def test_the_wheel_has_them_and_no_test() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"fin_plugins/training_configs/{name}.yaml" for name in NAMES} <= files
    assert {"fin_plugins/training/train_config.py", "fin_plugins/lm_eval_tasks/fin/fin_fomc.yaml"} <= files
    assert all(file.startswith(("fin_plugins/", "fin_plugins.")) for file in files)
    assert not any("test_" in file for file in files)


def test_the_folder_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training_folder() == ROOT / "training"
    package = tmp_path / "site-packages" / "fin_plugins"
    (package / "training_configs").mkdir(parents=True)
    (package / "training").mkdir()
    monkeypatch.setattr("fin_plugins.common.locations.__file__", str(package / "common" / "locations.py"))
    assert training_folder() == package / "training_configs"


def test_an_own_file_of_the_same_name_is_meant_only_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert TRAINING_CONFIGS.copy("demo", "") == Path("demo.yaml")
    assert read_config("demo").source == ROOT / "training" / "demo.yaml"
    assert read_config("demo.yaml").source == Path("demo.yaml")


def test_copying(tmp_path: Path) -> None:
    target = TRAINING_CONFIGS.copy("single_fomc", str(tmp_path))
    assert target == tmp_path / "single_fomc.yaml"
    assert target.read_bytes() == (ROOT / "training" / "single_fomc.yaml").read_bytes()
    target.write_text("mine")
    with pytest.raises(FinError, match=r"single_fomc.yaml: already exists"):
        TRAINING_CONFIGS.copy("single_fomc", str(target))
    assert target.read_text() == "mine"
    with pytest.raises(FinError, match="cannot be written"):
        TRAINING_CONFIGS.copy("single_fomc", str(tmp_path / "gone" / "x.yaml"))
