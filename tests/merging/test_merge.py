"""`fin merge` as typed: every recipe, what is left on disk, what is printed, what a kill leaves."""

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from fin_plugins.cli.main import fin
from fin_plugins.common.bundled import MERGE_RECIPES
from fin_plugins.common.errors import FinError
from fin_plugins.data.trained_rows import FILE, read_trained_rows, row_hash, trained_rows_text
from fin_plugins.merging.output import written_whole
from tests.merging.inputs_made import change, make_adapter, make_base, make_checkpoint, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def typed(*arguments: Any) -> Result:
    return CliRunner().invoke(fin, ["merge", *map(str, arguments)])


def done(*arguments: Any) -> str:
    result = typed(*arguments)
    if result.exception:
        raise result.exception
    return result.stdout


def experts(given: dict[str, Path]) -> list[str]:
    return [part for name, path in given.items() for part in ("--expert", f"{name}={path}")]


def given_for(recipe: str, adapters: dict[str, Path], folder: Path, base: Path) -> dict[str, Path]:
    if not recipe.startswith("paper"):
        return adapters
    names = ("sentiment", "fomc", "headline", "finred")
    return {name: make_checkpoint(folder / name, base, seed) for seed, name in enumerate(names)}


@pytest.mark.parametrize("recipe", sorted(MERGE_RECIPES.files()))
def test_every_recipe_leaves_a_model_that_loads(
    recipe: str, base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    given, out = given_for(recipe, adapters, tmp_path, base), tmp_path / "out"
    told = done(recipe, "--base", base, *experts(given), "--out", out, "--dtype", "bfloat16")
    assert "error of the change by rounding to bfloat16" in told
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16 and bool(model(torch.tensor([[1, 2, 3]])).logits.isfinite().all())
    assert not list(out.glob("*.bin")) and sorted(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("kind", ["Qwen2", "Gemma2", "Phi3", "GPTNeoX"])
def test_other_architectures(kind: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    settings = {"Gemma2": {"head_dim": 8}, "Phi3": {"pad_token_id": 0, "eos_token_id": 1}}
    base = make_base(tmp_path / "base", tiny_models["llama3"], kind, **settings.get(kind, {}))
    given = {name: make_checkpoint(tmp_path / name, base, seed) for seed, name in enumerate("ab")}
    done("task_arithmetic", "--base", base, *experts(given), "--out", tmp_path / "out", "--weight", "b=0.25")
    first, second = (change(base, path) for path in given.values())
    for name, tensor in change(base, tmp_path / "out").items():
        torch.testing.assert_close(tensor, 0.5 * first[name] + 0.25 * second[name], rtol=0, atol=3e-7)


def test_what_is_carried_and_written_down(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = done("ties", "--base", base, *experts(adapters), "--out", out, "--dtype", "float16", "--json")
    record = json.loads((out / "merge.json").read_text(encoding="utf-8"))
    assert record == json.loads(printed)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert {**json.loads((base / "config.json").read_text()), "dtype": "float16"} == config
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert {expert["name"] for expert in record["experts"]} == {"a", "b"}
    assert set(record["experts"][0]["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert record["versions"]["mergekit"] and record["peak_memory_bytes"]["host"] > 0
    assert str(tmp_path) not in json.dumps({**record, "command_line": []})
    card = (out / "README.md").read_text(encoding="utf-8")
    assert str(base) not in card and "merge_method: ties" in card and record["experts"][0]["hash"][:16] in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and {"merge", "mergekit"} <= set(front["tags"])


def test_rows_that_experts_were_trained_on_are_the_results_too(
    base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    given = {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in adapters.items()}
    for name, path in given.items():
        (path / FILE).write_text(trained_rows_text([row_hash(f"row of {name}")]))
    every = {row_hash(f"row of {name}") for name in given}
    for words in ((), ("--as-adapter",)):
        done("linear", "--base", base, *experts(given), "--out", tmp_path / "out", "--force", *words)
        assert read_trained_rows(tmp_path / "out") == every


def test_the_error_of_rounding_is_the_files(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    arguments = ("task_arithmetic", "--base", base, *experts(adapters), "--json", "--out")
    exact = json.loads(done(*arguments, tmp_path / "exact"))
    record = json.loads(done(*arguments, tmp_path / "rounded", "--dtype", "bfloat16"))
    assert exact["error_of_change"]["overall"] == 0
    theirs, ours = change(base, tmp_path / "exact"), change(base, tmp_path / "rounded")
    lost = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs)
    whole = sum(float(tensor.square().sum()) for tensor in theirs.values())
    assert record["error_of_change"]["overall"] == pytest.approx((lost / whole) ** 0.5, rel=1e-4)
    assert set(record["error_of_change"]["groups"]) >= {"layer 0", "layer 3", "lm_head", "embed_tokens"}


def test_adapters_are_rounded_once(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    """As a float64 merge would be, but for numbers that lie on the border of two."""
    from tests.merging.checkpoint.test_methods import by_peft

    done("linear", "--base", base, *experts(adapters), "--out", tmp_path / "out", "--dtype", "bfloat16")
    first, second = (by_peft(base, path) for path in adapters.values())
    found = weights(tmp_path / "out")
    differing = sum(int((((first[n] + second[n]) / 2).bfloat16() != found[n]).sum()) for n in found)
    assert differing <= sum(tensor.numel() for tensor in found.values()) * 1e-3


def test_mergekit_yaml_takes_what_is_printed(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from mergekit.scripts.run_yaml import main

    recipe, arguments = tmp_path / "filled.yaml", ("ties", "--base", base, *experts(adapters))
    recipe.write_text(done(*arguments, "--print", "--dtype", "float32"), encoding="utf-8")
    cache = ("--lora-merge-cache", str(tmp_path / "cache"), "--lora-merge-dtype", "float32")
    result = CliRunner().invoke(main, [str(recipe), str(tmp_path / "theirs"), *cache, "--quiet"])
    if result.exception:
        raise result.exception
    done(*arguments, "--out", tmp_path / "ours", "--dtype", "float32")
    theirs, ours = weights(tmp_path / "theirs"), weights(tmp_path / "ours")
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        # An entry on the border of what is trimmed may fall to either side.
        assert float(((tensor - theirs[name]).abs() > 1e-6).double().mean()) < 2e-3, name


def test_an_adapter_comes_out_where_one_is_asked_for(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from tests.merging.checkpoint.test_methods import by_peft

    out = tmp_path / "adapter"
    told = done("task_arithmetic", "--base", base, *experts(adapters), "--as-adapter", "--out", out)
    assert "one adapter of rank 8" in told and "max_lora_rank=8" in told
    done("task_arithmetic", "--base", base, *experts(adapters), "--out", tmp_path / "whole")
    whole = weights(tmp_path / "whole")
    for name, tensor in by_peft(base, out).items():
        torch.testing.assert_close(tensor, whole[name].double(), rtol=0, atol=1e-6)
    assert json.loads((out / "merge.json").read_text(encoding="utf-8"))["result"] == "adapter"


def test_all_that_is_wrong_is_said_at_once(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--set", "densty=1", "--weight", "c=1")
    message = str(typed("ties", "--base", base, *experts(adapters), *out).exception)
    assert message.startswith("2 problems\n") and "--weight c=1: no expert" in message
    assert "--set densty=1: ties has no parameter densty (did you mean density?)" in message


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path) -> None:
    from fin_plugins.merging.checkpoint.shards import ShardWriter

    writer = ShardWriter(tmp_path / "gone", 1 << 20)
    writer.add("one", torch.ones(3))
    with pytest.raises(FinError, match=r"gone: cannot be written"):
        writer.close()


def test_nothing_is_overwritten_unless_asked(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine", encoding="utf-8")
    arguments = ("linear", "--base", base, *experts(adapters), "--out", out)
    assert "is there already" in str(typed(*arguments).exception)
    assert [file.name for file in out.iterdir()] == ["mine"]
    done(*arguments, "--force")
    assert (out / "merge.json").is_file() and not (out / "mine").exists()


def test_a_failed_merge_leaves_what_was_there(base: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    broken, out = make_checkpoint(tmp_path / "broken", base, 1), tmp_path / "out"
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    done("linear", "--base", base, "--expert", f"one={checkpoints['one']}", "--out", out)
    before = (out / "merge.json").read_bytes()
    result = typed("linear", "--base", base, "--expert", f"x={broken}", "--out", out, "--force")
    assert "model.norm.weight: the merge is not finite" in str(result.exception)
    assert (out / "merge.json").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken", "out"]


def test_a_killed_merge_is_cleaned_up_by_the_next(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed(base, adapters, out)
    assert list((tmp_path / ".out.writing").iterdir()) and not out.exists()
    done("linear", "--base", base, *experts(adapters), "--out", out)
    assert (out / "config.json").is_file() and sorted(tmp_path.iterdir()) == [out]


def killed(base: Path, adapters: dict[str, Path], out: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            _merge_and_die(base, adapters, out)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (out.parent / f".{out.name}.writing").is_dir()


def test_a_killed_merge_is_cleaned_up_by_any_next_one(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    """A merge that is refused, and one beside it; what is running, and what another program left, stays."""
    words = ("linear", "--base", base, *experts(adapters), "--out")
    done(*words, tmp_path / "out")
    killed(base, adapters, tmp_path / "out")
    assert "is there already" in str(typed(*words, tmp_path / "out").exception)
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    killed(base, adapters, tmp_path / "out")
    for name in (".theirs.old", ".theirs.writing"):
        (tmp_path / name).mkdir()
    with written_whole(tmp_path / "running") as running:
        done(*words, tmp_path / "other")
        assert running.is_dir()
        assert "another merge writes there" in str(typed(*words, tmp_path / "running").exception)
    assert {file.name for file in tmp_path.iterdir()} == {"other", "out", "running", ".theirs.old", ".theirs.writing"}


def test_what_was_about_to_be_replaced_comes_back(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    """Killed between the two renames: the old result is whole, under another name."""
    words = ("linear", "--base", base, *experts(adapters), "--out", tmp_path / "out")
    done(*words)
    killed(base, adapters, tmp_path / "out")
    (tmp_path / "out").replace(tmp_path / ".out.old")
    assert "is there already" in str(typed(*words).exception)
    assert [file.name for file in tmp_path.iterdir()] == ["out"] and (tmp_path / "out" / "merge.json").is_file()


def _merge_and_die(base: Path, adapters: dict[str, Path], out: Path) -> None:
    """In a child process: merge, in small shards, and be killed in the middle."""
    from fin_plugins.merging.checkpoint.run import merge_as_checkpoint
    from fin_plugins.merging.run import Asked, prepare

    given = tuple(f"{name}={path}" for name, path in adapters.items())
    prepared = prepare(Asked(recipe="linear", base=str(base), experts=given))
    with written_whole(out) as folder:
        merge_as_checkpoint(
            prepared.filled,
            prepared.inputs.base,
            folder,
            shard_bytes=10_000,
            progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == total // 2 else None,
        )
    os._exit(0)


def test_shards_have_the_names_that_loaders_look_for(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from fin_plugins.merging.checkpoint.run import merge_as_checkpoint
    from fin_plugins.merging.run import Asked, prepare

    given = tuple(f"{name}={path}" for name, path in adapters.items())
    prepared = prepare(Asked(recipe="linear", base=str(base), experts=given))
    folders = [tmp_path / "one", tmp_path / "many"]
    for folder, size in zip(folders, (1 << 30, 20_000), strict=True):
        folder.mkdir()
        merge_as_checkpoint(prepared.filled, prepared.inputs.base, folder, shard_bytes=size)
    assert len(list(folders[1].glob("model-*-of-*.safetensors"))) > 3
    one, many = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in folders)
    assert all(torch.equal(one[name], many[name]) for name in one)


def small(folder: Path, adapter: Path, by: float) -> Path:
    """The adapter with a change that much smaller."""
    shutil.copytree(adapter, folder)
    tensors = load_file(adapter / "adapter_model.safetensors")
    smaller = {name: tensor * by if "lora_B" in name else tensor for name, tensor in tensors.items()}
    save_file(smaller, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("recipe, ways", [("task_arithmetic", "--dtype float32 or --as-adapter"), ("ties", "float32")])
def test_a_change_that_rounding_would_lose_is_refused(
    recipe: str, ways: str, base: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    given = {"a": small(tmp_path / "a", adapters["a"], 1e-3)}
    words = (recipe, "--base", base, *experts(given), "--out", tmp_path / "out")
    message = str(typed(*words, "--dtype", "bfloat16").exception)
    assert re.search(r"rounding to bfloat16 loses \d+% of the merged change", message) and ways in message
    assert ("--as-adapter" in message) == (recipe == "task_arithmetic")  # ties is no sum: no adapter keeps it
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]
    told = done(*words, "--dtype", "bfloat16", "--max-rounding", "1")
    assert "much of it is lost" in told and ways in told
    assert "is lost" not in done(*words, "--dtype", "float32", "--force")


def test_a_rank_that_no_engine_serves_is_said_before_the_work(base: Path, tmp_path: Path) -> None:
    wide = make_base(tmp_path / "base", base, hidden_size=528, intermediate_size=528, num_hidden_layers=1)
    given = {
        name: make_adapter(tmp_path / name, wide, seed, r=300, target_modules=["q_proj"])
        for seed, name in enumerate("ab")
    }
    words = ("task_arithmetic", "--base", wide, *experts(given), "--out", tmp_path / "out", "--as-adapter")
    message = str(typed(*words).exception)
    assert "rank 528" in message and "--rank 512" in message and not (tmp_path / "out").exists()


def test_a_dora_expert_merges_as_well(base: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    given = {"dora": make_adapter(tmp_path / "dora", base, 3, use_dora=True), "a": adapters["a"]}
    done("task_arithmetic", "--base", base, *experts(given), "--out", tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dora", "out"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ties",), "name the models: --base MODEL --expert NAME=PATH"),
        (("ties", "--base", "b", "--expert", "a=b"), "name a folder for the result: --out DIR"),
        (("--json",), "name a recipe; `--list` shows"),
        (("ties", "--base", "b", "--expert", "a=b", "--out", "c", "--rank", "4"), "go with --as-adapter"),
    ],
)
def test_what_is_missing_on_the_command_line(arguments: tuple[str, ...], said: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == 2 and said in result.stderr


def test_a_missing_library_is_named(base: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mergekit" else True)
    result = typed("ties", "--base", base, *experts(adapters), "--print")
    assert str(result.exception) == 'mergekit: not installed: `pip install "fin-plugins[merge]"`'


def test_recipes_are_listed_and_copied(tmp_path: Path) -> None:
    assert set(json.loads(done("--list", "--json"))) == set(MERGE_RECIPES.files())
    assert "TIES: keeps each expert's largest changes" in done("--list")
    assert "edit it, then run" in done("ties", "--copy", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_bytes() == MERGE_RECIPES.files()["ties"].read_bytes()
    assert "is there already" in str(typed("ties", "--copy", tmp_path / "mine.yaml").exception)


def test_help_shows_the_command_as_it_is_typed() -> None:
    assert "Usage: fin merge [OPTIONS] [RECIPE]" in done("--help")
