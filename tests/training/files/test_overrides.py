"""`--set` and the flags that change a key: what they do, and that a bad one is named as typed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems
from fin_plugins.training.files.overrides import Override
from fin_plugins.training.files.read import read_config
from tests.training.files import reading
from tests.training.files.reading import PLAIN, problems

file = reading.file


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
    monkeypatch.setattr("fin_plugins.training.files.checks._all_tasks", frozenset)
    try:
        read_config(str(file), [f"{key}={value}" for key, value in changes])
    except Problems as error:
        assert all(line.startswith(("--set ", "my.run.yaml:")) for line in map(str, error.problems))
