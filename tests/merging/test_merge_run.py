"""`fin merge` as a command: the files of a result, the output, and what failed and killed merges leave behind."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from fin_plugins.cli.main import fin
from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.data.text_hashes import TRAINED_ROWS_FILE as TRAINED_ROWS
from fin_plugins.data.text_hashes import format_trained_rows, read_trained_rows, row_hash
from fin_plugins.merging.checkpoint_merge import merge_as_checkpoint
from fin_plugins.merging.merge_run import MergeRequest, output_folder, prepare_merge
from tests.merging.model_factories import (
    ADAPTER_WEIGHTS,
    change_tensors,
    make_adapter,
    make_base,
    make_checkpoint,
    peft_weights,
    weight_changes,
    weights,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(fin, ["merge", *map(str, arguments)])


def merge(*arguments: Any) -> str:
    """Run the command; returns its standard output."""
    result = invoke(*arguments)
    if result.exception:
        raise result.exception
    return result.stdout


def merge_error(*arguments: Any) -> str:
    return str(invoke(*arguments).exception)


def expert_flags(experts: dict[str, Path]) -> list[str]:
    return [word for name, path in experts.items() for word in ("--expert", f"{name}={path}")]


def file_names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("recipe", ["task_arithmetic", "della", "layer_swap", "paper_2411.02476"])
def test_the_result_loads(recipe: str, base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    experts, out = adapters, tmp_path / "out"
    if recipe.startswith("paper"):
        names = ("sentiment", "fomc", "headline", "finred")
        experts = {name: make_checkpoint(tmp_path / name, base, seed) for seed, name in enumerate(names)}
    output = merge(recipe, "--base", base, *expert_flags(experts), "--out", out, "--dtype", "bfloat16")
    assert re.search(r"error of the change by rounding to bfloat16: \d", output)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16 and bool(model(torch.tensor([[1, 2, 3]])).logits.isfinite().all())
    assert not list(out.glob("*.bin")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["Qwen2", "Gemma2", "Phi3", "GPTNeoX"])
def test_other_architectures(kind: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    settings = {"Gemma2": {"head_dim": 8}, "Phi3": {"pad_token_id": 0, "eos_token_id": 1}}
    base = make_base(tmp_path / "base", tiny_models["llama3"], kind, **settings.get(kind, {}))
    experts = {name: make_checkpoint(tmp_path / name, base, seed) for seed, name in enumerate("ab")}
    merge("task_arithmetic", "--base", base, *expert_flags(experts), "--out", tmp_path / "out", "--weight", "b=0.25")
    first, second = (weight_changes(base, path) for path in experts.values())
    for name, tensor in weight_changes(base, tmp_path / "out").items():
        torch.testing.assert_close(tensor, 0.5 * first[name] + 0.25 * second[name], rtol=0, atol=3e-7)


def test_files_beside_the_weights(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("ties", "--base", base, *expert_flags(adapters), "--out", out, "--dtype", "float16", "--json")
    metadata = json.loads(merge(*words))
    assert metadata == json.loads((out / "merge.json").read_text(encoding="utf-8"))
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert {**json.loads((base / "config.json").read_text()), "dtype": "float16"} == config
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert {expert["name"] for expert in metadata["experts"]} == {"a", "b"}
    assert set(metadata["experts"][0]["files"]) == {"adapter_config.json", ADAPTER_WEIGHTS}
    assert metadata["versions"]["mergekit"] and metadata["peak_memory_bytes"]["host"] > 0
    assert str(tmp_path) not in json.dumps({**metadata, "command_line": []})
    card = (out / "README.md").read_text(encoding="utf-8")
    assert str(base) not in card and "merge_method: ties" in card and metadata["experts"][0]["hash"][:16] in card
    front_matter = yaml.safe_load(card.split("---")[1])
    assert front_matter["library_name"] == "transformers" and {"merge", "mergekit"} <= set(front_matter["tags"])


def test_the_experts_training_rows_are_the_results(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    experts = {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in adapters.items()}
    for name, path in experts.items():
        (path / TRAINED_ROWS).write_text(format_trained_rows([row_hash(f"row of {name}")]))
    rows = {row_hash(f"row of {name}") for name in experts}
    for options in ((), ("--as-adapter",)):
        merge("linear", "--base", base, *expert_flags(experts), "--out", tmp_path / "out", "--force", *options)
        assert read_trained_rows(tmp_path / "out") == rows


def test_the_recorded_rounding_error_is_that_of_the_files(
    base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    """The result is rounded once, like a float64 merge, except for numbers halfway between two."""
    words = ("linear", "--base", base, *expert_flags(adapters), "--json", "--out")
    exact = json.loads(merge(*words, tmp_path / "exact"))
    rounded = json.loads(merge(*words, tmp_path / "rounded", "--dtype", "bfloat16"))
    assert exact["error_of_change"]["overall"] == 0
    exact_changes, changes = weight_changes(base, tmp_path / "exact"), weight_changes(base, tmp_path / "rounded")
    lost = sum(float((changes[name] - it).square().sum()) for name, it in exact_changes.items())
    total = sum(float(it.square().sum()) for it in exact_changes.values())
    assert rounded["error_of_change"]["overall"] == pytest.approx((lost / total) ** 0.5, rel=1e-4)
    assert set(rounded["error_of_change"]["groups"]) >= {"layer 0", "layer 3", "lm_head", "embed_tokens"}
    first, second = (peft_weights(base, path) for path in adapters.values())
    written = weights(tmp_path / "rounded")
    differing = sum(int((((first[n] + second[n]) / 2).bfloat16() != written[n]).sum()) for n in written)
    assert differing <= sum(tensor.numel() for tensor in written.values()) * 1e-3


def test_mergekit_yaml_reads_the_printed_recipe(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from mergekit.scripts.run_yaml import main

    recipe, words = tmp_path / "resolved.yaml", ("ties", "--base", base, *expert_flags(adapters))
    recipe.write_text(merge(*words, "--print", "--dtype", "float32"), encoding="utf-8")
    cache = ("--lora-merge-cache", str(tmp_path / "cache"), "--lora-merge-dtype", "float32")
    result = CliRunner().invoke(main, [str(recipe), str(tmp_path / "theirs"), *cache, "--quiet"])
    if result.exception:
        raise result.exception
    merge(*words, "--out", tmp_path / "ours", "--dtype", "float32")
    theirs, ours = weights(tmp_path / "theirs"), weights(tmp_path / "ours")
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        # An entry on the border of what is trimmed may fall to either side.
        assert float(((tensor - theirs[name]).abs() > 1e-6).double().mean()) < 2e-3, name


def test_adapters_merge_into_an_adapter(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    words = ("task_arithmetic", "--base", base, *expert_flags(adapters))
    output = merge(*words, "--as-adapter", "--out", tmp_path / "adapter")
    assert "rank 8" in output and "max_lora_rank=8" in output
    merge(*words, "--out", tmp_path / "checkpoint")
    checkpoint, adapter = weights(tmp_path / "checkpoint"), peft_weights(base, tmp_path / "adapter")
    for name, tensor in checkpoint.items():
        torch.testing.assert_close(adapter[name], tensor.double(), rtol=0, atol=1e-6)
    metadata = json.loads((tmp_path / "adapter" / "merge.json").read_text(encoding="utf-8"))
    assert metadata["result"] == "adapter" and metadata["exact"]


def test_all_faults_are_reported_at_once(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    options = ("--out", tmp_path / "out", "--set", "densty=1", "--weight", "c=1")
    message = merge_error("ties", "--base", base, *expert_flags(adapters), *options)
    assert message.startswith("2 problems\n")
    assert "--weight c=1: " in message and "--set densty=1: " in message and "did you mean density?" in message


def test_a_result_is_overwritten_only_by_force(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine", encoding="utf-8")
    words = ("linear", "--base", base, *expert_flags(adapters), "--out", out)
    assert "--force" in merge_error(*words)
    assert file_names(out) == ["mine"]
    merge(*words, "--force")
    assert (out / "merge.json").is_file() and not (out / "mine").exists()


def test_a_failed_merge_leaves_the_old_result(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    broken, out = make_checkpoint(tmp_path / "broken", base, 1), tmp_path / "out"
    norm = load_file(broken / "model.safetensors")["model.norm.weight"]
    norm[3] = float("nan")
    change_tensors(broken / "model.safetensors", {"model.norm.weight": norm})
    merge("linear", "--base", base, "--expert", f"one={checkpoints['one']}", "--out", out)
    before = (out / "merge.json").read_bytes()
    message = merge_error("linear", "--base", base, "--expert", f"x={broken}", "--out", out, "--force")
    assert "model.norm.weight" in message and "not finite" in message
    assert (out / "merge.json").read_bytes() == before
    assert file_names(tmp_path) == ["broken", "out"]


def kill_merge(base: Path, adapters: dict[str, Path], out: Path) -> None:
    """Merge in a child process that kills itself in the middle."""
    child = os.fork()
    if child == 0:
        try:
            flags = tuple(f"{name}={path}" for name, path in adapters.items())
            prepared = prepare_merge(MergeRequest(recipe="linear", base=str(base), experts=flags))
            with output_folder(out) as folder:
                merge_as_checkpoint(
                    prepared.recipe,
                    prepared.inputs.base,
                    folder,
                    shard_bytes=10_000,
                    progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == total // 2 else None,
                )
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert list((out.parent / f".{out.name}.writing").iterdir())


@pytest.fixture
def words(base: Path, adapters: dict[str, Path]) -> Iterator[tuple[Any, ...]]:
    yield "linear", "--base", base, *expert_flags(adapters), "--out"


def test_the_next_merge_cleans_up_after_a_killed_one(
    words: tuple[Any, ...], base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    kill_merge(base, adapters, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge(*words, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file() and file_names(tmp_path) == ["out"]


def test_any_merge_in_the_folder_cleans_up_after_a_killed_one(
    words: tuple[Any, ...], base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    """A refused merge, and one beside it; a running merge, and what another program left, stays."""
    merge(*words, tmp_path / "out")
    kill_merge(base, adapters, tmp_path / "out")
    assert "--force" in merge_error(*words, tmp_path / "out")
    assert file_names(tmp_path) == ["out"]
    kill_merge(base, adapters, tmp_path / "out")
    for name in (".theirs.old", ".theirs.writing"):
        (tmp_path / name).mkdir()
    with output_folder(tmp_path / "running") as running:
        merge(*words, tmp_path / "other")
        assert running.is_dir()
        assert "another merge" in merge_error(*words, tmp_path / "running")
    assert file_names(tmp_path) == [".theirs.old", ".theirs.writing", "other", "out", "running"]


def test_a_result_that_was_about_to_be_replaced_is_restored(
    words: tuple[Any, ...], base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    """Killed between the two renames: the old result is complete, under another name."""
    merge(*words, tmp_path / "out")
    kill_merge(base, adapters, tmp_path / "out")
    (tmp_path / "out").replace(tmp_path / ".out.old")
    assert "--force" in merge_error(*words, tmp_path / "out")
    assert file_names(tmp_path) == ["out"] and (tmp_path / "out" / "merge.json").is_file()


def shrink_adapter(folder: Path, adapter: Path, factor: float) -> Path:
    """The adapter with its change multiplied by a factor."""
    shutil.copytree(adapter, folder)
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    change_tensors(folder / ADAPTER_WEIGHTS, {name: it * factor for name, it in tensors.items() if "lora_B" in name})
    return folder


@pytest.mark.parametrize("recipe", ["task_arithmetic", "ties"])
def test_a_change_that_rounding_would_lose_is_refused(
    recipe: str, base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    experts = {"a": shrink_adapter(tmp_path / "a", adapters["a"], 1e-3)}
    words = (recipe, "--base", base, *expert_flags(experts), "--out", tmp_path / "out")
    message = merge_error(*words, "--dtype", "bfloat16")
    assert re.search(r"rounding to bfloat16 loses \d+%", message) and "--dtype float32" in message
    assert ("--as-adapter" in message) == (recipe == "task_arithmetic")  # ties is not a sum: no adapter represents it
    assert file_names(tmp_path) == ["a"]
    output = merge(*words, "--dtype", "bfloat16", "--max-rounding", "1")
    assert "--dtype float32" in output and ("--as-adapter" in output) == (recipe == "task_arithmetic")
    assert "--dtype" not in merge(*words, "--dtype", "float32", "--force")


def test_a_rank_that_no_engine_serves_is_refused_before_the_work(base: Path, tmp_path: Path) -> None:
    wide = make_base(tmp_path / "base", base, hidden_size=528, intermediate_size=528, num_hidden_layers=1)
    experts = {
        name: make_adapter(tmp_path / name, wide, seed, r=300, target_modules=["q_proj"])
        for seed, name in enumerate("ab")
    }
    message = merge_error(
        "task_arithmetic", "--base", wide, *expert_flags(experts), "--out", tmp_path / "out", "--as-adapter"
    )
    assert "rank 528" in message and "--rank 512" in message and not (tmp_path / "out").exists()


def test_a_dora_expert_leaves_no_scratch_files(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    experts = {"dora": make_adapter(tmp_path / "dora", base, 3, use_dora=True), "a": adapters["a"]}
    merge("task_arithmetic", "--base", base, *expert_flags(experts), "--out", tmp_path / "out")
    assert file_names(tmp_path) == ["dora", "out"] and not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ties",), "--base MODEL --expert NAME=PATH"),
        (("ties", "--base", "b", "--expert", "a=b"), "--out DIR"),
        (("--json",), "--list"),
        (("ties", "--base", "b", "--expert", "a=b", "--out", "c", "--rank", "4"), "--as-adapter"),
    ],
)
def test_missing_arguments_are_named(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2 and message in result.stderr


def test_a_missing_library_is_named(base: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mergekit" else True)
    message = merge_error("ties", "--base", base, *expert_flags(adapters), "--print")
    assert message.startswith("mergekit: not installed") and '"fin-plugins[merge]"' in message


def test_recipes_are_listed_and_copied(tmp_path: Path) -> None:
    assert set(json.loads(merge("--list", "--json"))) == set(MERGE_RECIPES.files())
    assert MERGE_RECIPES.descriptions()["ties"] in merge("--list")
    merge("ties", "--copy", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_bytes() == MERGE_RECIPES.files()["ties"].read_bytes()
    assert str(tmp_path / "mine.yaml") in merge_error("ties", "--copy", tmp_path / "mine.yaml")


def test_help_shows_the_command_as_typed() -> None:
    assert "Usage: fin merge [OPTIONS] [RECIPE]" in merge("--help")
