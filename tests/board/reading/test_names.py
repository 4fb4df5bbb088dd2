"""Who a model is, and what it is called."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.model import Entry
from fin_plugins.board.reading import read_results
from fin_plugins.board.reading.files import RunFiles
from fin_plugins.board.reading.model_args import arguments, identity, short_name
from fin_plugins.board.reading.names import Chosen, Names, clean, show_names
from fin_plugins.board.reading.raw import Run as RawRun
from tests.board.reading.runs import Run, messages, model


def of(*given: dict[str, object], engine: str = "vllm", names: dict[str, str] | None = None) -> list[Names]:
    """The names of models with these arguments."""
    files = RunFiles(Path("r.json"), "r.json", "")
    runs = [RawRun(files, 0.0, "0.4.13", engine, one, {}, False, "", False, "", None) for one in given]
    return show_names(runs, Chosen(names or {}))


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
    """lm-eval files it under the base's name, or under its path."""
    assert of(
        {"pretrained": "org/base"},
        {"pretrained": "org/base", "lora_local_path": "/x/fomc"},
        {"pretrained": "org/base", "peft": "/x/9", "adapter_name": "deal"},
        {"pretrained": "org/base", "adapter_name": "named"},
    ) == [("base", None), ("fomc (on base)", "base"), ("deal (on base)", "base"), ("named (on base)", "base")]


def test_how_fast_a_model_is_run_is_not_who_it_is() -> None:
    slow = {"pretrained": "org/m", "tensor_parallel_size": 1, "max_model_len": 2048, "dtype": "auto"}
    fast = {"pretrained": "org/m", "tensor_parallel_size": 8, "gpu_memory_utilization": 0.5, "tokenizer": "org/m"}
    assert identity("vllm", slow) == identity("hf", fast)


def test_what_changes_answers_is_another_model() -> None:
    names = of(
        {"pretrained": "/x/m", "dtype": "float32"}, {"pretrained": "/x/m", "dtype": "bfloat16"}, {"pretrained": "/x/m"}
    )
    assert [name for name, _ in names] == ["m [dtype float32]", "m [dtype bfloat16]", "m"]
    quantised = of(
        {"pretrained": "/x/m", "quantization": "fp8", "dtype": "half"}, {"pretrained": "/x/m", "dtype": "half"}
    )
    assert [name for name, _ in quantised] == ["m [quantization fp8]", "m"]


def test_models_of_one_name_are_told_apart() -> None:
    hub = of({"pretrained": "one/m"}, {"pretrained": "two/m"})
    assert [name for name, _ in hub] == ["one/m", "two/m"]
    folders = [name for name, _ in of({"pretrained": "/x/m"}, {"pretrained": "/y/m"})]
    assert len(set(folders)) == 2
    assert all(name.startswith("m~") and "/" not in name for name in folders)
    adapters = of({"pretrained": "b", "peft": "/x/fomc"}, {"pretrained": "b", "peft": "/y/fomc"})
    assert len({name for name, _ in adapters}) == 2
    assert all("/" not in name for name, _ in adapters)


def test_an_adapter_is_one_by_whatever_name_it_was_passed() -> None:
    """`fin eval` names it, plain `lm_eval` does not."""
    files = {"pretrained": "b", "peft": "/x/fomc-lora"}
    assert of(files, {**files, "adapter_name": "fomc"}) == [("fomc (on b)", "b")] * 2


def test_chosen_names() -> None:
    moved = of({"pretrained": "/x/m"}, {"pretrained": "/y/m"}, names={"/x/m/": "Mine", "/y/m": "Mine"})
    assert moved == [("Mine", None), ("Mine", None)]
    by_short_name = of({"pretrained": "/x/m", "peft": "/z/fomc"}, names={"m": "Mine", "fomc (on Mine)": "Tuned"})
    assert by_short_name == [("Tuned", "Mine")]
    assert of({"pretrained": "m", "peft": "/z/fomc"}, names={"/z/fomc": "Tuned"}) == [("Tuned", "m")]


def test_a_chosen_name_does_not_make_an_adapter_its_base() -> None:
    base, adapter = of({"pretrained": "m"}, {"pretrained": "m", "peft": "/a"}, names={"m": "Mine", "/a": "Mine"})
    assert base[0] != adapter[0]


def test_api_models_and_models_without_a_name() -> None:
    assert of({"model": "gpt", "base_url": "http://somewhere:8000/v1"}) == [("gpt", None)]
    assert of({}, engine="dummy") == [("dummy", None)]


def test_arguments_as_older_versions_write_them() -> None:
    assert arguments("pretrained=org/m,dtype=float32, peft=/a=b") == {
        "pretrained": "org/m",
        "dtype": "float32",
        "peft": "/a=b",
    }
    assert arguments("") == arguments(None) == {}


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
    reading = read_results([tmp_path])
    shown = reading.columns[0].entries[0].model
    assert len(reading.columns) == 3
    assert 0 < len(shown) <= 60
    assert shown.isprintable()
    assert bool(reading.problems) == (shown != name)
    assert all("characters or some that cannot be seen: it is shown as" in message for message in messages(reading))


@given(st.text(max_size=400))
def test_clean_names_are_one_short_visible_line(name: str) -> None:
    shown = clean(name)
    assert 0 < len(shown) <= 60
    assert shown.isprintable()
    assert clean(shown) == shown


PATHS = st.text("ab/.~\\", min_size=1, max_size=8)
ARGUMENTS = st.fixed_dictionaries(
    {"pretrained": PATHS},
    optional={"peft": PATHS, "adapter_name": PATHS, "dtype": st.sampled_from(["float16", "auto"]), "revision": PATHS},
)


@given(st.lists(ARGUMENTS, max_size=6))
def test_two_models_never_have_one_name(given: list[dict[str, object]]) -> None:
    """An adapter is its files, by whatever name it was passed."""
    names: dict[str, object] = {}
    for one, (name, base) in zip(given, of(*given), strict=True):
        who = replace(identity("vllm", one), adapter_name="")
        assert names.setdefault(name, who) == who
        assert (base is None) == (not who.adapter)


def _entries(root: Path) -> list[Entry]:
    return [entry for column in read_results([root]).columns for entry in column.entries]


def test_the_type_that_transformers_reports_counts(real_run: Run, tmp_path: Path) -> None:
    def reports(dtype: str) -> object:
        return lambda data: data["config"].update(
            model="hf", model_args={"pretrained": "m"}, model_dtype=f"torch.{dtype}"
        )

    for dtype in ("float32", "bfloat16"):
        real_run.copy(tmp_path / dtype, reports(dtype))  # type: ignore[arg-type]
    assert {entry.model for entry in _entries(tmp_path)} == {"m [dtype float32]", "m [dtype bfloat16]"}
    assert {entry.source.settings["dtype"] for entry in _entries(tmp_path)} == {"float32", "bfloat16"}
