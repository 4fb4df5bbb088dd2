"""Whatever a file has become: an experiment, or problems with a line; never another error."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems
from fin_plugins.experiments.files.read import read_experiment
from tests.experiments.files import reading
from tests.experiments.files.reading import PLAIN

file = reading.file
DATA = yaml.safe_load(PLAIN)
TEXTS = ["", "~nobody/x", "fin_x", "./x", "x.yaml", "a b", "é\n", "x" * 300, "fin_fomc", "ties", "${expert}"]
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


def keys(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    named = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [key for name, below in named for key in ((*above, name), *keys(below, (*above, name)))]


def changed(key: tuple[Any, ...], how: str, value: Any) -> dict[str, Any]:
    data = deepcopy(DATA)
    parent: Any = data
    for part in key[:-1]:
        parent = parent[part]
    if how == "drop":
        del parent[key[-1]]
    elif how == "rename" and isinstance(parent, dict):
        parent[f"{key[-1]}x"] = parent.pop(key[-1])
    else:
        # Other names would be looked for among lm-eval's thousands of tasks, which takes seconds.
        parent[key[-1]] = f"fin_{value}" if key[0] == "tasks" and isinstance(value, str) else value
    return data


def survives(file: Path, settings: list[str]) -> None:
    try:
        read_experiment(str(file), settings)
    except Problems as error:
        assert error.problems and all("\n" not in str(problem) for problem in error.problems)
        assert all(problem.file.startswith(("mine.yaml", "--set")) for problem in error.problems)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(keys(DATA)), st.sampled_from(["drop", "rename", "replace", "replace"]), GARBAGE)
def test_any_change_in_the_file(file: Path, key: tuple[Any, ...], how: str, value: Any) -> None:
    file.write_text(yaml.safe_dump(changed(key, how, value), allow_unicode=True))
    survives(file, [])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(keys(DATA)),
    st.sampled_from(["", "3", "[1]", "{a: 1}", "~x", "fin_x", "!!python/name:os.system 1", "[", "null", ".nan"]),
)
def test_any_change_behind_set(file: Path, key: tuple[Any, ...], value: str) -> None:
    survives(file, [f"{'.'.join(map(str, key))}={value}"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(FinError):
        read_experiment(str(file))
