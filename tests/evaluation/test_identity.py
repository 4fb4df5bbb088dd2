"""What a model is told by: content, wherever it lies."""

import json
import shutil
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation import identity
from fin_plugins.scoring.adapters import read_adapter
from tests.evaluation.making import adapter

DEVICE = {"type": "cpu", "name": "one"}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def base(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models["llama3"], tmp_path / "base"))


def made_with(base: Path, engine: str = "fin_hf", **more: object) -> dict:
    return identity.ingredients(engine, {"pretrained": str(base), **more}, None, {"batch_size": 1}, DEVICE)


def test_what_is_no_part_of_the_model(base: Path, tmp_path: Path) -> None:
    before = made_with(base)
    (base / "README.md").write_text("about")
    (base / ".gitattributes").write_text("*")
    (base / "training_args.bin").write_text("x")
    (base / "checkpoint-5").mkdir()
    (base / "checkpoint-5" / "model.safetensors").write_text("x")
    assert made_with(base) == before
    assert made_with(Path(base.rename(tmp_path / "elsewhere"))) == before


@pytest.mark.parametrize("file", ["model-00002-of-00002.safetensors", "tokenizer.model", "code.py", "no_suffix"])
def test_what_is_part_of_the_model(file: str, base: Path) -> None:
    before = made_with(base)
    (base / file).write_text("x")
    assert identity.changed(before, made_with(base)) == [f"base {file}"]


INDEXES = ["model.safetensors.index.json", "model.safetensors.index.fp16.json", "pytorch_model.bin.index.json"]


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("shard", ["weights/part.safetensors", "optimizer-1.safetensors", ".part"])
def test_shards_that_an_index_names_count_wherever_they_lie(index: str, shard: str, base: Path) -> None:
    (base / "weights").mkdir()
    (base / shard).write_text("x")
    (base / index).write_text(json.dumps({"weight_map": {"a": shard, "b": shard, "c": "not/downloaded.bin"}}))
    before = made_with(base)
    (base / shard).write_text("y")
    assert identity.changed(before, made_with(base)) == [f"base {shard}"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"weight_map": 1}', '{"weight_map": {"a": {}}}', "[]"])
def test_what_is_no_index_names_no_shards(text: str, base: Path) -> None:
    before = made_with(base)
    (base / "model.safetensors.index.json").write_text(text)
    assert identity.changed(before, made_with(base)) == ["base model.safetensors.index.json"]


def test_names_and_places_do_not_count_arguments_do(base: Path) -> None:
    before = made_with(base)
    assert made_with(base, adapter_name="x") == before
    assert identity.changed(before, made_with(base, dtype="float32")) == ["dtype"]
    assert identity.changed(before, made_with(base, engine="fin_vllm")) == ["engine", "accelerate", "vllm"]


def test_a_file_named_by_an_argument_counts_by_content(base: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    table.write_text("a")
    nested = {"chat_template_args": {"table": str(table)}}
    before = made_with(base, **nested)
    copy = str(shutil.copy(table, tmp_path / "copies.txt"))
    table.write_text("b")
    assert identity.changed(before, made_with(base, **nested)) == ["chat_template_args"]
    assert made_with(base, chat_template_args={"table": copy}) == before


def test_delta_weights_count_by_content(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "difference").mkdir()
    (tmp_path / "difference" / "model.safetensors").write_text("x")
    before = made_with(base, delta="difference")  # a folder named without a slash
    assert before != made_with(base)
    (tmp_path / "difference" / "model.safetensors").write_text("y")
    assert identity.changed(before, made_with(base, delta="difference")) == ["delta model.safetensors"]


@pytest.mark.parametrize("where", ["here", "base"])
def test_a_file_named_without_a_slash_counts_by_content(
    where: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = (base if where == "base" else tmp_path) / "quantised"
    folder.mkdir()
    (folder / "model.gguf").write_text("x")
    before = made_with(base, some_file="quantised")
    (folder / "model.gguf").write_text("y")
    assert identity.changed(before, made_with(base, some_file="quantised")) == ["some_file"]


def test_a_word_that_is_the_name_of_a_folder_stays_a_word(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("float32", "float16"):
        (tmp_path / name).mkdir()
    assert identity.changed(made_with(base, dtype="float32"), made_with(base, dtype="float16")) == ["dtype"]


@pytest.mark.parametrize("value", ["/dev/null", "x" * 5000, "~nobody-here/x", "a\0b"])
def test_an_argument_that_is_no_file_of_a_model_counts_as_it_stands(value: str, base: Path) -> None:
    assert made_with(base, some=value)["arguments"]["some"] == value


def test_a_base_that_is_an_adapters_folder_counts_with_the_model_behind_it(
    base: Path, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    # transformers loads the model that adapter_config.json names, and not the weights beside it
    behind = Path(shutil.copytree(tiny_models["phi3"], tmp_path / "behind"))
    (base / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(behind)}))
    before = made_with(base)
    (behind / "model.safetensors").write_text("x")
    assert identity.changed(before, made_with(base)) == ["base base of the adapter model.safetensors"]


def test_another_tokenizer_counts_by_content(base: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    other = made_with(base, tokenizer=str(tiny_models["phi3"]))
    copy = Path(shutil.copytree(tiny_models["phi3"], tmp_path / "copy"))
    assert made_with(base, tokenizer=str(copy)) == other
    assert made_with(base) != other
    (copy / "tokenizer_config.json").write_text("{}")
    assert identity.changed(other, made_with(base, tokenizer=str(copy))) == ["tokenizer tokenizer_config.json"]


def test_an_adapter_is_its_settings_and_weights(base: Path, tmp_path: Path) -> None:
    def of(folder: Path) -> dict:
        return identity.ingredients("fin_hf", {"pretrained": str(base)}, read_adapter("a", folder), {}, DEVICE)

    folder = adapter(tmp_path / "a", base)
    before = of(folder)
    assert sorted(before["adapter"]) == ["adapter_config.json", "adapter_model.safetensors"]
    (folder / "tokenizer_config.json").write_text("{}")  # trainers leave one; no engine reads it
    assert of(folder) == before
    assert before != made_with(base) and before["base"] == made_with(base)["base"]


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
    found = identity.base_folder({"pretrained": "someone/tiny", **hub})
    assert found == repo / "snapshots" / commit
    assert identity.base_folder({"pretrained": "someone/tiny", "revision": "old", **hub}) == found
    by_name = identity.ingredients("fin_hf", {"pretrained": "someone/tiny", **hub}, None, {"batch_size": 1}, DEVICE)
    assert by_name == made_with(base)
    with pytest.raises(FinError, match=r"pretrained=someone/other: no such folder here, and not to be had") as error:
        identity.base_folder({"pretrained": "someone/other", **hub})
    assert "\n" not in str(error.value)


def test_a_subfolder_that_is_not_there_is_one_line(base: Path) -> None:
    with pytest.raises(FinError, match="subfolder=nope"):
        made_with(base, subfolder="nope")


def test_variables_that_choose_vllms_kernels(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = made_with(base, engine="fin_vllm")
    for name in ("VLLM_LOGGING_LEVEL", "VLLM_CPU_KVCACHE_SPACE", "VLLM_CACHE_ROOT", "VLLM_PORT"):
        monkeypatch.setenv(name, "7")
    assert made_with(base, engine="fin_vllm") == before
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert identity.changed(before, made_with(base, engine="fin_vllm")) == ["VLLM_BATCH_INVARIANT"]


def test_vllm_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise identity.PackageNotFoundError(name)

    monkeypatch.setattr(identity, "version", none)
    with pytest.raises(FinError, match="vLLM is not installed"):
        identity.device_of("fin_vllm", None)


def test_the_device_is_told_without_an_engine() -> None:
    cpu = identity.device_of("fin_hf", "cpu")
    assert cpu["type"] == "cpu" and cpu["name"]
