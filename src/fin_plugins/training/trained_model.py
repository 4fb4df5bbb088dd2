"""The model of a run: the base model, its adapter, and the files published when training ends."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from fin_plugins.common.atomic import apply_umask, unfinished_path
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.hardware import computes_bfloat16
from fin_plugins.training.train_config import TrainConfig

Fingerprint = dict[str, tuple[float, float]]
"""Sum and Euclidean norm of each trained parameter, by name."""

_EMBEDDING_LAYERS = {"lm_head", "embed_tokens", "embed_out", "wte"}
_PICKLES = ("*.bin", "*.pt", "*.pth")


def model_path(name: str) -> str:
    """Folder or hub name of a model; `demo` is the small bundled model.

    Raises:
        FinError: the package of `demo` is not installed.
    """
    if name != "demo":
        return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    from fin_plugins.demo import demo_model

    return str(demo_model())


def device() -> str:
    """`cuda` if a GPU can be used, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def compute_dtype(config: TrainConfig) -> torch.dtype:
    """Dtype of frozen weights and of the computation; `auto` is bfloat16 if the hardware supports it."""
    if config.dtype != "auto":
        return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    return torch.bfloat16 if computes_bfloat16() else torch.float32


def check_method(config: TrainConfig, path: str) -> None:
    """Check what can be known before the weights are loaded.

    Raises:
        FinError: `qlora` without a GPU or bitsandbytes; no such model; an adapter on embeddings or output layer.
    """
    if config.method == "qlora":
        _check_qlora()
    try:
        architecture = AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise FinError(f"model: {config.model}: cannot be loaded ({first_line(error)})") from error
    modules = config.lora.target_modules if config.method != "full" else []
    embeddings = _EMBEDDING_LAYERS & set(modules if isinstance(modules, list) else [])
    if embeddings:
        tied = " (and this model's input and output embeddings are tied)" if architecture.tie_word_embeddings else ""
        raise FinError(
            f"lora.target_modules: {', '.join(sorted(embeddings))} cannot be adapted{tied}: no engine serves such an "
            "adapter; name linear layers of the blocks, or all-linear"
        )


def load_base_model(config: TrainConfig, path: str) -> PreTrainedModel:
    """Load the base model: in float32 for `full`, in 4 bits for `qlora`, otherwise in `compute_dtype`.

    Raises:
        FinError: it cannot be loaded.
    """
    settings: dict[str, Any] = {"dtype": torch.float32 if config.method == "full" else compute_dtype(config)}
    if config.method == "qlora":
        settings |= {"quantization_config": _four_bits(), "device_map": {"": torch.cuda.current_device()}}
    try:
        return AutoModelForCausalLM.from_pretrained(
            path, attn_implementation=_attention(config, path), trust_remote_code=config.trust_remote_code, **settings
        )
    except (OSError, ValueError) as error:
        raise FinError(f"model: {config.model}: cannot be loaded ({first_line(error)})") from error


def add_adapter(model: PreTrainedModel, config: TrainConfig) -> Any:
    """The model with a new adapter, or unchanged for `full`. Uses random numbers: set the seed before.

    Raises:
        FinError: `lora.target_modules` matches nothing in the model.
    """
    if config.method == "full":
        return model
    if config.method == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=config.gradient_checkpointing)
    lora = LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.target_modules,
        use_rslora=config.method == "rslora",
        use_dora=config.method == "dora",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise FinError(f"lora.target_modules: {first_line(error)}") from error


def fingerprint(model: Any) -> Fingerprint:
    """Two numbers per trained parameter, to detect a change without a copy of the weights."""
    weights = ((name, weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad)
    return {
        name: (weight.sum(dtype=torch.float64).item(), torch.linalg.vector_norm(weight, dtype=torch.float64).item())
        for name, weight in weights
    }


def check_trained(model: Any, before: Fingerprint, config: TrainConfig) -> None:
    """Check that training changed the model, before anything of it is published.

    Args:
        model: the model to be published.
        before: its fingerprint before training (in a resumed run, before the first part).
        config: the training file.

    Raises:
        FinError: all factors B of the adapter are 0, so it has no effect; or no weight changed.
    """
    after = fingerprint(model)
    b_norms = [norm for name, (_, norm) in after.items() if ".lora_B." in name]
    if (b_norms and not any(b_norms)) or after == before:
        kind, reason = (
            ("adapter", "its factors B are all 0") if b_norms else ("model", "its weights are those of the base")
        )
        raise FinError(
            f"training changed nothing: the {kind} is as it was before ({reason}), so it is not written: raise "
            f"learning_rate (now {config.learning_rate:g}), epochs or max_steps, and train with --fresh"
        )


def publish_adapter(scratch: Path, folder: Path) -> None:
    """Move the saved adapter or checkpoint from `scratch` to `folder`, file by file, without pickles.

    transformers' trainer writes Python pickles, which users should not have to trust.

    Raises:
        FinError: `folder` cannot be written.
    """
    try:
        for pattern in _PICKLES:
            for pickle in scratch.glob(pattern):
                pickle.unlink()
        apply_umask(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        # The configuration goes last: a folder without it is not taken for a model.
        for file in sorted(scratch.iterdir(), key=lambda file: (file.name.endswith("config.json"), file.name)):
            file.replace(folder / file.name)
        shutil.rmtree(scratch)
    except OSError as error:
        reason = error.strerror or error
        raise FinError(f"{folder}: cannot be written ({reason}): free some space or change `output`") from error


def merge_adapter(base: str, adapter: Path, folder: Path, *, trust_remote_code: bool = False) -> None:
    """Write the base with the adapter added to its weights in float32, rounded once to the base's dtype.

    Merging in bfloat16 loses up to 38 % of a delta of 1 % of the weights (simulated, rank 32, width 2048).

    Args:
        base: folder or hub name of the base model.
        adapter: folder of the adapter and its tokenizer.
        folder: folder of the merged checkpoint.
        trust_remote_code: passed to transformers.

    Raises:
        FinError: `folder` cannot be written, or the merged weights are not finite.
    """
    from peft import PeftModel
    from transformers import AutoTokenizer

    dtype = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code).dtype or torch.float32
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=trust_remote_code)
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise FinError(f"{adapter}: cannot be merged ({first_line(error)})") from error
    scratch = unfinished_path(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    merged.to(dtype).save_pretrained(scratch)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(scratch)
    publish_adapter(scratch, folder)


def checkpoint_bytes(base: str) -> int:
    """Size of a base model's weights, and of its merged checkpoint; 0 if they are not in a local folder."""
    return sum(file.stat().st_size for file in Path(base).glob("*.safetensors"))


def _check_qlora() -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise FinError("method: qlora needs bitsandbytes: `pip install bitsandbytes`, or use method: lora")
    if not torch.cuda.is_available():
        raise FinError("method: qlora needs a GPU, and none is available: use method: lora")


def _attention(config: TrainConfig, path: str) -> str | None:
    """FlashAttention for TRL's packed batches, if installed; otherwise the model's default.

    Before transformers 5.24 the default of Gemma 2 was `sdpa`, which ignores its soft cap of attention scores.
    """
    from transformers.utils import is_flash_attn_2_available

    flattened = config.batching in ("packed", "padding_free")
    if flattened and torch.cuda.is_available() and is_flash_attn_2_available():
        return "flash_attention_2"
    architecture = AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    return "eager" if getattr(architecture.get_text_config(), "attn_logit_softcapping", None) else None


def _four_bits() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
