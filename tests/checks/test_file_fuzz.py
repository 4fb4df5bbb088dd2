"""Whatever a file says, the checker gives findings and never raises an error."""

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.cli.main import fin
from fin_plugins.common.locations import task_folder, training_folder
from fin_plugins.compat.lm_eval import schema
from fin_plugins.tasks.task_config import CustomDatasetConfig, FinMetadata
from fin_plugins.training.train_config import TrainConfig
from tests.checks.check_helpers import FAULTS, static_findings
from tests.common.test_yaml_fuzz import PIECES, VALUES

SHIPPED = sorted(task_folder().rglob("*.yaml")) + sorted(training_folder().glob("*.yaml"))
FILES = [*SHIPPED, *sorted(FAULTS.glob("*.yaml"))]


@pytest.fixture(autouse=True, scope="module")
def includes() -> None:
    """Files that name others by a path from their own folder find them there."""
    folder = Path(tempfile.mkdtemp())
    for file in (*FAULTS.iterdir(), *task_folder().joinpath("fin").iterdir()):
        (folder / file.name).write_bytes(file.read_bytes())
    globals()["FOLDER"] = folder


def check_bytes(content: bytes) -> None:
    """Each finding is one line of text with a code and a place."""
    file = globals()["FOLDER"] / "fuzzed.yaml"
    file.write_bytes(content)
    for finding in static_findings(str(file)):
        assert finding.line >= 1 and finding.column >= 1 and "\n" not in str(finding) and finding.code
    file.unlink()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    check_bytes(content)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PIECES | st.sampled_from(["task", "group", "include", "!function ", "metric_list"]), max_size=40).map(
        "".join
    )
)
def test_anything_that_looks_like_yaml(text: str) -> None:
    check_bytes(text.encode())


KEYS = sorted({*schema.task_keys(), *schema.group_types(), *TrainConfig.model_fields, "include"})
BELOW = sorted(
    {
        *CustomDatasetConfig.model_fields,
        *FinMetadata.model_fields,
        *schema.aggregate_types(),
        "fin",
        "filter",
        "name",
        "function",
    }
)
WORDS = st.sampled_from(
    [
        "fin_fpb",
        "fin_plugins.tasks.own.load",
        "fin_plugins.tasks.rows.load",
        "train",
        "test",
        "acc",
        "f1",
        "mean",
        "_good",
    ]
)


def with_functions(text: str) -> str:
    """A few of the words become `!function`s."""
    return text.replace(": fin_plugins", ": !function fin_plugins").replace("- fin_plugins", "- !function fin_plugins")


INNER = st.recursive(
    WORDS | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(BELOW), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), INNER, min_size=1, max_size=8))
def test_known_keys_with_any_values(data: dict[str, object]) -> None:
    import yaml

    check_bytes(with_functions(yaml.safe_dump(data, allow_unicode=True)).encode("utf-8", "surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_real_file_with_a_few_bytes_changed(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(FILES)).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 12)))
        content[start:end] = data.draw(st.one_of(PIECES.map(str.encode), st.binary(max_size=3)))
    check_bytes(bytes(content))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_real_file_with_lines_taken_out_doubled_and_swapped(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(FILES)).read_bytes().split(b"\n")
    for _ in range(data.draw(st.integers(1, 5))):
        at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["out", "double", "swap", "indent"])):
            case "out" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(other, lines[at])
            case "swap":
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                lines[at] = b"  " + lines[at]
    check_bytes(b"\n".join(lines))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_json_stays_json(data: st.DataObject) -> None:
    file = globals()["FOLDER"] / "fuzzed.yaml"
    text = data.draw(st.lists(PIECES, max_size=30).map("".join))
    file.write_bytes(b"task: fuzzed\n" + text.encode())
    done = CliRunner().invoke(fin, ["task", "check", str(file), "--no-rows", "--format", "json"])
    assert done.exit_code in (0, 1) and json.loads(done.stdout)["files"] == 1
