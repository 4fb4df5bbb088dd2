"""Cache keys: models are identified by content, wherever their files are."""

import json
import shutil
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation import cache_key
from fin_plugins.scoring.adapters import read_adapter
from tests.evaluation.factories import adapter

DEVICE = {"type": "cpu", "name": "some CPU"}


@pytest.fixture(autouse=True)
def separate_hash_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def base(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models["llama3"], tmp_path / "base"))


def base_inputs(base: Path, engine: str = "fin_hf", **more: object) -> dict:
    return cache_key.key_inputs(engine, {"pretrained": str(base), **more}, None, {"batch_size": 1}, DEVICE)


def test_files_that_are_not_part_of_the_model(base: Path, tmp_path: Path) -> None:
    before = base_inputs(base)
    (base / "README.md").write_text("about")
    (base / ".gitattributes").write_text("*")
    (base / "training_args.bin").write_text("x")
    (base / "checkpoint-5").mkdir()
    (base / "checkpoint-5" / "model.safetensors").write_text("x")
    assert base_inputs(base) == before
    assert base_inputs(Path(base.rename(tmp_path / "elsewhere"))) == before


@pytest.mark.parametrize("file", ["model-00002-of-00002.safetensors", "tokenizer.model", "code.py", "no_suffix"])
def test_files_that_are_part_of_the_model(file: str, base: Path) -> None:
    before = base_inputs(base)
    (base / file).write_text("x")
    assert cache_key.changed_inputs(before, base_inputs(base)) == [f"base {file}"]


INDEXES = ["model.safetensors.index.json", "model.safetensors.index.fp16.json", "pytorch_model.bin.index.json"]


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("shard", ["weights/part.safetensors", "optimizer-1.safetensors", ".part"])
def test_shards_named_by_an_index_count_anywhere(index: str, shard: str, base: Path) -> None:
    (base / "weights").mkdir()
    (base / shard).write_text("x")
    (base / index).write_text(json.dumps({"weight_map": {"a": shard, "b": shard, "c": "not/downloaded.bin"}}))
    before = base_inputs(base)
    (base / shard).write_text("y")
    assert cache_key.changed_inputs(before, base_inputs(base)) == [f"base {shard}"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"weight_map": 1}', '{"weight_map": {"a": {}}}', "[]"])
def test_an_invalid_index_names_no_shards(text: str, base: Path) -> None:
    before = base_inputs(base)
    (base / "model.safetensors.index.json").write_text(text)
    assert cache_key.changed_inputs(before, base_inputs(base)) == ["base model.safetensors.index.json"]


def test_arguments_count_but_names_and_places_do_not(base: Path) -> None:
    before = base_inputs(base)
    assert base_inputs(base, adapter_name="x") == before
    assert cache_key.changed_inputs(before, base_inputs(base, dtype="float32")) == ["dtype"]
    assert cache_key.changed_inputs(before, base_inputs(base, engine="fin_vllm")) == ["engine", "accelerate", "vllm"]


def test_a_file_named_by_an_argument_counts_by_content(base: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("a")
    nested = {"chat_template_args": {"table": str(table)}}
    before = base_inputs(base, **nested)
    copy = str(shutil.copy(table, tmp_path / "copies.txt"))
    table.write_text("b")
    assert cache_key.changed_inputs(before, base_inputs(base, **nested)) == ["chat_template_args"]
    assert base_inputs(base, chat_template_args={"table": copy}) == before


def test_delta_weights_count_by_content(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "difference").mkdir()
    (tmp_path / "difference" / "model.safetensors").write_text("x")
    before = base_inputs(base, delta="difference")  # a folder named without a slash
    assert before != base_inputs(base)
    (tmp_path / "difference" / "model.safetensors").write_text("y")
    assert cache_key.changed_inputs(before, base_inputs(base, delta="difference")) == ["delta model.safetensors"]


@pytest.mark.parametrize("where", ["here", "base"])
def test_a_file_named_without_a_slash_counts_by_content(
    where: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = (base if where == "base" else tmp_path) / "quantised"
    folder.mkdir()
    (folder / "model.gguf").write_text("x")
    before = base_inputs(base, some_file="quantised")
    (folder / "model.gguf").write_text("y")
    assert cache_key.changed_inputs(before, base_inputs(base, some_file="quantised")) == ["some_file"]


def test_a_word_that_is_also_a_folder_counts_as_a_word(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("float32", "float16"):
        (tmp_path / name).mkdir()
    assert cache_key.changed_inputs(base_inputs(base, dtype="float32"), base_inputs(base, dtype="float16")) == ["dtype"]


@pytest.mark.parametrize("value", ["/dev/null", "x" * 5000, "~nobody-here/x", "a\0b"])
def test_an_argument_that_is_not_a_file_counts_as_is(value: str, base: Path) -> None:
    assert base_inputs(base, some=value)["arguments"]["some"] == value


def test_a_base_that_is_an_adapter_folder_includes_the_recorded_model(
    base: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    # transformers loads the model named in adapter_config.json, not the weights beside it
    recorded = Path(shutil.copytree(tiny_models["phi3"], tmp_path / "recorded"))
    (base / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(recorded)}))
    before = base_inputs(base)
    (recorded / "model.safetensors").write_text("x")
    assert cache_key.changed_inputs(before, base_inputs(base)) == ["base base of the adapter model.safetensors"]


def test_another_tokenizer_counts_by_content(base: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    other = base_inputs(base, tokenizer=str(tiny_models["phi3"]))
    copy = Path(shutil.copytree(tiny_models["phi3"], tmp_path / "copy"))
    assert base_inputs(base, tokenizer=str(copy)) == other
    assert base_inputs(base) != other
    (copy / "tokenizer_config.json").write_text("{}")
    assert cache_key.changed_inputs(other, base_inputs(base, tokenizer=str(copy))) == [
        "tokenizer tokenizer_config.json"
    ]


def test_an_adapter_is_its_settings_and_weights(base: Path, tmp_path: Path) -> None:
    def adapter_inputs(folder: Path) -> dict:
        return cache_key.key_inputs("fin_hf", {"pretrained": str(base)}, read_adapter("a", folder), {}, DEVICE)

    folder = adapter(tmp_path / "a", base)
    before = adapter_inputs(folder)
    assert sorted(before["adapter"]) == ["adapter_config.json", "adapter_model.safetensors"]
    (folder / "tokenizer_config.json").write_text("{}")  # trainers leave one; no engine reads it
    assert adapter_inputs(folder) == before
    assert before != base_inputs(base) and before["base"] == base_inputs(base)["base"]


def test_a_model_from_the_hub_is_found_in_its_cache(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(base, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    (repo / "refs" / "old").write_text(commit)
    hub = {"download_dir": str(tmp_path / "hub")}
    folder = cache_key.base_folder({"pretrained": "someone/tiny", **hub})
    assert folder == repo / "snapshots" / commit
    assert cache_key.base_folder({"pretrained": "someone/tiny", "revision": "old", **hub}) == folder
    by_name = cache_key.key_inputs("fin_hf", {"pretrained": "someone/tiny", **hub}, None, {"batch_size": 1}, DEVICE)
    assert by_name == base_inputs(base)
    with pytest.raises(FinError, match=r"pretrained=someone/other: no such folder") as error:
        cache_key.base_folder({"pretrained": "someone/other", **hub})
    assert "\n" not in str(error.value)


def test_a_missing_subfolder_is_an_error(base: Path) -> None:
    with pytest.raises(FinError, match="subfolder=nope"):
        base_inputs(base, subfolder="nope")


def test_vllm_variables_that_select_kernels(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = base_inputs(base, engine="fin_vllm")
    for name in ("VLLM_LOGGING_LEVEL", "VLLM_CPU_KVCACHE_SPACE", "VLLM_CACHE_ROOT", "VLLM_PORT"):
        monkeypatch.setenv(name, "7")
    assert base_inputs(base, engine="fin_vllm") == before
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert cache_key.changed_inputs(before, base_inputs(base, engine="fin_vllm")) == ["VLLM_BATCH_INVARIANT"]


@pytest.mark.parametrize("library", ["transformers", "torch", "peft", "lm_eval", "tokenizers", "accelerate"])
def test_versions_of_libraries_count(library: str, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = base_inputs(base), cache_key.version
    monkeypatch.setattr(cache_key, "version", lambda name: "9.9" if name == library else version(name))
    assert cache_key.changed_inputs(before, base_inputs(base)) == [library]


def test_vllm_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> str:
        raise cache_key.PackageNotFoundError(name)

    monkeypatch.setattr(cache_key, "version", not_installed)
    with pytest.raises(FinError, match="vLLM is not installed"):
        cache_key.engine_device("fin_vllm", None)


def test_the_device_is_known_without_an_engine() -> None:
    cpu = cache_key.engine_device("fin_hf", "cpu")
    assert cpu["type"] == "cpu" and cpu["name"]
