"""Every factor that an adapter holds is in the merge, as PEFT alone puts it on the base; or the merge is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from fin_plugins.cli.main import fin
from tests.merging.inputs_made import make_adapter, make_base, make_checkpoint

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]

NEAR = 5e-5  # nats: float32 on weights of about one
IDS = torch.tensor([[1, 5, 9, 120, 3, 17, 42, 8, 100, 2]])
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> dict[str, Path]:
    folder, tokenizer = tmp_path_factory.mktemp("bases"), tiny_models["llama3"]
    return {
        "tied": make_base(folder / "tied", tokenizer, tie_word_embeddings=True, initializer_range=0.15),
        "untied": make_base(folder / "untied", tokenizer, tie_word_embeddings=False, initializer_range=0.15),
        "gpt2": make_base(folder / "gpt2", tokenizer, "GPT2", initializer_range=0.2),
    }


KINDS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["q_proj"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "both tied": {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    "saved embeddings": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "saved head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "token rows": {"target_modules": ["q_proj"], "trainable_token_indices": [5, 100]},
    "dora head": {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
}
_PRODUCTS = ("plain", "head", "embeddings", "both", "both tied")
CONV1D = {"square": ["attn.c_proj"], "beside a linear layer": ["c_attn", "c_fc", "lm_head"]}


def typed(recipe: str, base: Path, experts: dict[str, Path], out: Path, *more: str) -> Result:
    given = [word for name, path in experts.items() for word in ("--expert", f"{name}={path}")]
    return CliRunner().invoke(fin, ["merge", recipe, "--base", str(base), *given, "--out", str(out), *more])


def merged(recipe: str, base: Path, experts: dict[str, Path], out: Path, *more: str) -> Path:
    result = typed(recipe, base, experts, out, *more)
    if result.exception:
        raise result.exception
    return out


def refused(result: Result) -> str:
    assert result.exception is not None and result.exit_code != 0
    return str(result.exception)


def said(base: Path, adapter: Path | None = None) -> torch.Tensor:
    """Log-probabilities of the model, with PEFT alone where there is an adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits.double().log_softmax(-1)
    return found


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def stripped(adapter: Path, folder: Path) -> Path:
    """Without the base's own weights, which other tools do not save along."""
    shutil.copytree(adapter, folder)
    tensors = load_file(adapter / WEIGHTS)
    save_file({n: t for n, t in tensors.items() if "base_layer" not in n}, folder / WEIGHTS, {"format": "pt"})
    return folder


def trained(folder: Path, base: Path, **settings: Any) -> Path:
    """An adapter that changes all it may: whole modules and single rows too."""
    adapter = make_adapter(folder, base, 7, **settings)
    tensors = load_file(adapter / WEIGHTS)
    torch.manual_seed(1)
    moved = {
        name: t if "lora_" in name or "base_layer" in name else t + 0.04 * torch.randn_like(t)
        for name, t in tensors.items()
    }
    if settings.get("ensure_weight_tying") and (start := "base_model.model.lm_head.lora_") + "A.weight" in moved:
        embedding = "base_model.model.model.embed_tokens.lora_embedding_"
        ends = {"A": moved[f"{embedding}B"], "B": moved[f"{embedding}A"]}
        moved |= {f"{start}{end}.weight": tensor.T.contiguous() for end, tensor in ends.items()}
    save_file(moved, adapter / WEIGHTS, {"format": "pt"})
    return adapter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tie", ["tied", "untied"])
def test_a_merge_of_one_is_what_peft_makes_of_it(tie: str, kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    base = bases[tie]
    adapter = trained(tmp_path / "adapter", base, **KINDS[kind])
    truth = said(base, adapter)
    assert apart(truth, said(base)) > 0.05
    assert apart(said(merged("task_arithmetic", base, {"a": adapter}, tmp_path / "out")), truth) < NEAR
    if kind in _PRODUCTS:
        small = merged("task_arithmetic", base, {"a": adapter}, tmp_path / "small", "--as-adapter")
        assert apart(said(base, small), truth) < NEAR
    else:
        message = refused(typed("task_arithmetic", base, {"a": adapter}, tmp_path / "no", "--as-adapter"))
        assert "merge into a checkpoint" in message


@pytest.mark.parametrize(
    "kind, untied", [("head", True), ("embeddings", True), ("both tied", False), ("token rows", False)]
)
def test_the_output_layer_is_untied_where_it_must_be(
    kind: str, untied: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = trained(tmp_path / "adapter", bases["tied"], **KINDS[kind])
    out = merged("linear", bases["tied"], {"a": adapter}, tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is not untied
    assert ("lm_head.weight" in load_file(out / "model.safetensors")) is untied


@pytest.mark.parametrize("recipe, more", [("task_arithmetic", []), ("ties", ["--set", "density=1"])])
def test_beside_another_expert(recipe: str, more: list[str], bases: dict[str, Path], tmp_path: Path) -> None:
    """One expert has LoRA on the output layer, another on embeddings, a third on neither."""
    base = bases["tied"]
    experts = {
        "head": stripped(trained(tmp_path / "full", base, **KINDS["head"]), tmp_path / "head"),
        "embeddings": trained(tmp_path / "embeddings", base, **KINDS["embeddings"]),
        "plain": trained(tmp_path / "plain", base, **KINDS["plain"]),
    }
    whole = said(merged(recipe, base, experts, tmp_path / "out", *more))
    small = merged(
        recipe, base, experts, tmp_path / "small", "--as-adapter", *more, *(["--rank", "32"] if more else [])
    )
    assert apart(said(base, small), whole) < 10 * NEAR
    without = {name: experts[name] for name in ("embeddings", "plain")}
    assert apart(whole, said(merged(recipe, base, without, tmp_path / "without", *more))) > 0.01


@pytest.mark.parametrize("targets", CONV1D)
@pytest.mark.parametrize("flag", [True, False])
def test_orientation_is_the_bases_whatever_the_flag_says(
    targets: str, flag: bool, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = bases["gpt2"]
    adapter = trained(tmp_path / "adapter", base, target_modules=CONV1D[targets])
    settings = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**settings, "fan_in_fan_out": flag}))
    truth = said(base, adapter)
    assert apart(said(merged("task_arithmetic", base, {"a": adapter}, tmp_path / "out")), truth) < NEAR
    small = merged("task_arithmetic", base, {"a": adapter}, tmp_path / "small", "--as-adapter")
    assert apart(said(base, small), truth) < NEAR


def test_methods_that_go_row_by_row_see_rows_as_stored(bases: dict[str, Path], tmp_path: Path) -> None:
    adapters = {
        name: make_adapter(tmp_path / name, bases["gpt2"], seed, target_modules=["c_attn", "c_fc"])
        for seed, name in enumerate("ab")
    }
    more = ("--set", "density=0.5", "--set", "epsilon=0.15")
    whole = said(merged("della", bases["gpt2"], adapters, tmp_path / "out", *more))
    small = merged("della", bases["gpt2"], adapters, tmp_path / "small", *more, "--as-adapter", "--rank", "32")
    assert apart(said(bases["gpt2"], small), whole) < 10 * NEAR


def untie(checkpoint: Path) -> Path:
    """The same checkpoint with a changed output layer of its own."""
    tensors = load_file(checkpoint / "model.safetensors")
    torch.manual_seed(3)
    embeddings = tensors["model.embed_tokens.weight"]
    head = {"lm_head.weight": embeddings + 0.1 * torch.randn_like(embeddings)}
    save_file({**tensors, **head}, checkpoint / "model.safetensors", {"format": "pt"})
    settings = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**settings, "tie_word_embeddings": False}))
    return checkpoint


@pytest.mark.parametrize("twice", [False, True])
def test_a_checkpoint_that_unties_the_output_layer(twice: bool, bases: dict[str, Path], tmp_path: Path) -> None:
    """Also where the tied base's own file holds an output layer, which nothing reads."""
    base = Path(shutil.copytree(bases["tied"], tmp_path / "base"))
    if twice:
        tensors = load_file(base / "model.safetensors")
        unused = {"lm_head.weight": torch.randn_like(tensors["model.embed_tokens.weight"])}
        save_file({**tensors, **unused}, base / "model.safetensors", {"format": "pt"})
    other = make_checkpoint(tmp_path / "other", bases["tied"], 1)
    expert = untie(make_checkpoint(tmp_path / "expert", bases["tied"], 2))
    alone = merged("linear", base, {"a": expert}, tmp_path / "alone")
    assert apart(said(alone), said(expert)) < NEAR
    both = load_file(merged("linear", base, {"a": expert, "b": other}, tmp_path / "both") / "model.safetensors")
    first, second = (load_file(path / "model.safetensors") for path in (expert, other))
    expected = (first["lm_head.weight"] + second["model.embed_tokens.weight"]) / 2
    torch.testing.assert_close(both["lm_head.weight"], expected, rtol=0, atol=1e-6)


def test_a_tied_checkpoint_on_an_untied_base(bases: dict[str, Path], tmp_path: Path) -> None:
    base = untie(Path(shutil.copytree(bases["tied"], tmp_path / "base")))
    expert = make_checkpoint(tmp_path / "expert", bases["tied"], 2)
    assert apart(said(merged("linear", base, {"a": expert}, tmp_path / "out")), said(expert)) < NEAR


def _more(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**tensors, "base_model.model.model.layers.0.mlp.act.odd": torch.ones(3)}


def _elsewhere(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("layers.3", "layers.9"): tensor for name, tensor in tensors.items()}


def _another_base(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor + ("base_layer" in name) for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "kind, change, names",
    [
        ("plain", _more, "mlp.act.odd"),
        ("plain", _elsewhere, "layers.9"),
        ("head", _another_base, "lm_head.base_layer"),
        ("dora head", _more, "mlp.act.odd"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--as-adapter",)])
def test_what_finds_no_place_is_refused(
    more: tuple[str, ...],
    kind: str,
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
    names: str,
    bases: dict[str, Path],
    tmp_path: Path,
) -> None:
    adapter = trained(tmp_path / "adapter", bases["tied"], **KINDS[kind])
    save_file(change(load_file(adapter / WEIGHTS)), adapter / WEIGHTS, {"format": "pt"})
    message = refused(typed("task_arithmetic", bases["tied"], {"a": adapter}, tmp_path / "out", *more))
    assert "a" in message and (names in message or (more and "DoRA" in message))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adapter"]
