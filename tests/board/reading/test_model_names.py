"""Identity and display name of models."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.board_data import Entry
from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.board.reading.model_names import (
    ChosenNames,
    ModelNames,
    clean_name,
    identify_model,
    name_models,
    parse_model_args,
    short_name,
)
from tests.board.reading.result_fixtures import Run, messages, model


def names_of(
    *arguments: dict[str, object], engine: str = "vllm", names: dict[str, str] | None = None
) -> list[ModelNames]:
    """The names of models with these arguments."""
    return name_models([identify_model(engine, model_args) for model_args in arguments], ChosenNames(names or {}))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/Model-7B", "Model-7B"),
        ("/data/models/Model-7B/", "Model-7B"),
        ("C:\\Users\\somebody\\Model-7B", "Model-7B"),
        ("~/Model-7B", "Model-7B"),
        ("/x/.cache/huggingface/hub/models--org--Model-7B/snapshots/0123abcd", "Model-7B"),
        ("runs/fomc/checkpoint-500", "fomc/checkpoint-500"),
        ("/home/somebody/model", "model"),
        ("/root/model", "model"),
        ("/Users/somebody/final", "final"),
        ("~somebody/adapter", "adapter"),
        ("C:\\out", "out"),
    ],
)
def test_short_names(path: str, name: str) -> None:
    assert short_name(path) == name


def test_an_adapter_is_named_with_its_base() -> None:
    """lm-eval names its folder after the base or the path."""
    assert names_of(
        {"pretrained": "org/base"},
        {"pretrained": "org/base", "lora_local_path": "/x/fomc"},
        {"pretrained": "org/base", "peft": "/x/9", "adapter_name": "deal"},
        {"pretrained": "org/base", "adapter_name": "named"},
    ) == [("base", None), ("fomc (on base)", "base"), ("deal (on base)", "base"), ("named (on base)", "base")]


def test_execution_options_do_not_change_identity() -> None:
    slow = {"pretrained": "org/m", "tensor_parallel_size": 1, "max_model_len": 2048, "dtype": "auto"}
    fast = {"pretrained": "org/m", "tensor_parallel_size": 8, "gpu_memory_utilization": 0.5, "tokenizer": "org/m"}
    assert identify_model("vllm", slow) == identify_model("hf", fast)


def test_options_that_change_answers_change_identity() -> None:
    names = names_of(
        {"pretrained": "/x/m", "dtype": "float32"}, {"pretrained": "/x/m", "dtype": "bfloat16"}, {"pretrained": "/x/m"}
    )
    assert [name for name, _ in names] == ["m [dtype float32]", "m [dtype bfloat16]", "m"]
    quantised = names_of(
        {"pretrained": "/x/m", "quantization": "fp8", "dtype": "half"}, {"pretrained": "/x/m", "dtype": "half"}
    )
    assert [name for name, _ in quantised] == ["m [quantization fp8]", "m"]


def test_equal_names_are_made_unique() -> None:
    hub = names_of({"pretrained": "one/m"}, {"pretrained": "two/m"})
    assert [name for name, _ in hub] == ["one/m", "two/m"]
    folders = [name for name, _ in names_of({"pretrained": "/x/m"}, {"pretrained": "/y/m"})]
    assert len(set(folders)) == 2
    assert all(name.startswith("m~") and "/" not in name for name in folders)
    adapters = names_of({"pretrained": "b", "peft": "/x/fomc"}, {"pretrained": "b", "peft": "/y/fomc"})
    assert len({name for name, _ in adapters}) == 2
    assert all("/" not in name for name, _ in adapters)


def test_adapter_is_identified_by_its_files() -> None:
    """`fin eval` names it, plain `lm_eval` does not."""
    files = {"pretrained": "b", "peft": "/x/fomc-lora"}
    assert names_of(files, {**files, "adapter_name": "fomc"}) == [("fomc (on b)", "b")] * 2


def test_chosen_names() -> None:
    moved = names_of({"pretrained": "/x/m"}, {"pretrained": "/y/m"}, names={"/x/m/": "Mine", "/y/m": "Mine"})
    assert moved == [("Mine", None), ("Mine", None)]
    by_short_name = names_of({"pretrained": "/x/m", "peft": "/z/fomc"}, names={"m": "Mine", "fomc (on Mine)": "Tuned"})
    assert by_short_name == [("Tuned", "Mine")]
    assert names_of({"pretrained": "m", "peft": "/z/fomc"}, names={"/z/fomc": "Tuned"}) == [("Tuned", "m")]


def test_adapter_and_base_never_share_a_name() -> None:
    base, adapter = names_of({"pretrained": "m"}, {"pretrained": "m", "peft": "/a"}, names={"m": "Mine", "/a": "Mine"})
    assert base[0] != adapter[0]


def test_api_models_and_models_without_a_name() -> None:
    assert names_of({"model": "gpt", "base_url": "http://somewhere:8000/v1"}) == [("gpt", None)]
    assert names_of({}, engine="dummy") == [("dummy", None)]


def test_arguments_of_older_versions() -> None:
    assert parse_model_args("pretrained=org/m,dtype=float32, peft=/a=b") == {
        "pretrained": "org/m",
        "dtype": "float32",
        "peft": "/a=b",
    }
    assert parse_model_args("") == parse_model_args(None) == {}


HOSTILE = [
    "<script>alert(1)<script>",
    "a \"quoted\" 'name' & more",
    "\u202eexe.\u05d0\u05d1",
    "x" * 300,
    "two\nlines\x00\x1b[31m",
    " ",
    "\u200b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, model(pretrained=name))
    reading = load_runs([tmp_path])
    display_name = reading.columns[0].entries[0].model
    assert len(reading.columns) == 3
    assert 0 < len(display_name) <= 60
    assert display_name.isprintable()
    assert bool(reading.problems) == (display_name != name)
    assert all("it is shown as" in message for message in messages(reading))


@given(st.text(max_size=400))
def test_clean_names_are_one_short_visible_line(name: str) -> None:
    cleaned = clean_name(name)
    assert 0 < len(cleaned) <= 60
    assert cleaned.isprintable()
    assert clean_name(cleaned) == cleaned


PATHS = st.text("ab/.~\\", min_size=1, max_size=8)
ARGUMENTS = st.fixed_dictionaries(
    {"pretrained": PATHS},
    optional={"peft": PATHS, "adapter_name": PATHS, "dtype": st.sampled_from(["float16", "auto"]), "revision": PATHS},
)


@given(st.lists(ARGUMENTS, max_size=6))
def test_two_models_never_have_one_name(arguments: list[dict[str, object]]) -> None:
    """An adapter counts by its files, not by its name."""
    names: dict[str, object] = {}
    for model_args, (name, base) in zip(arguments, names_of(*arguments), strict=True):
        who = replace(identify_model("vllm", model_args), adapter_name="")
        assert names.setdefault(name, who) == who
        assert (base is None) == (not who.adapter)


def _entries(root: Path) -> list[Entry]:
    return [entry for column in load_runs([root]).columns for entry in column.entries]


def test_reported_dtype_is_used(real_run: Run, tmp_path: Path) -> None:
    def reports(dtype: str) -> object:
        return lambda data: data["config"].update(
            model="hf", model_args={"pretrained": "m"}, model_dtype=f"torch.{dtype}"
        )

    for dtype in ("float32", "bfloat16"):
        real_run.copy(tmp_path / dtype, reports(dtype))  # type: ignore[arg-type]
    assert {entry.model for entry in _entries(tmp_path)} == {"m [dtype float32]", "m [dtype bfloat16]"}
    assert {entry.source.settings["dtype"] for entry in _entries(tmp_path)} == {"float32", "bfloat16"}
