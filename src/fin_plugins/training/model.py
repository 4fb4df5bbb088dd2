"""The base model as it is trained: its dtype, its adapter, and what cannot work, said before it is loaded."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.hardware import computes_bfloat16
from fin_plugins.training.config import TrainConfig


def model_path(name: str) -> str:
    """The folder or hub name of a model; `demo` is the small model that comes with the package.

    Raises:
        FinError: `demo` is asked for and its wheel is not installed.
    """
    if name != "demo":
        return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    from fin_plugins.demo.model import demo_model

    return str(demo_model())


def device() -> str:
    """`cuda` where a GPU can be used, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_of(config: TrainConfig) -> torch.dtype:
    """Dtype of frozen weights and of computing: with `auto`, bfloat16 where the hardware computes in it."""
    if config.dtype != "auto":
        return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    return torch.bfloat16 if computes_bfloat16() else torch.float32


def check_method(config: TrainConfig, path: str) -> None:
    """Check what can be known before the weights are loaded.

    Raises:
        FinError: `qlora` without a GPU or bitsandbytes; no such model; the output layer is asked to be adapted.
    """
    if config.method == "qlora":
        _check_qlora()
    try:
        architecture = AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        raise FinError(f"model: {config.model}: cannot be loaded ({first_line(error)})") from error
    named = config.lora.target_modules if config.method != "full" else []
    heads = {"lm_head", "embed_tokens", "embed_out", "wte"} & set(named if isinstance(named, list) else [])
    if heads:
        tied = " (and this model's input and output embeddings are one)" if architecture.tie_word_embeddings else ""
        raise FinError(
            f"lora.target_modules: {', '.join(sorted(heads))} cannot be adapted{tied}: engines serve no adapter there; "
            "name linear layers of the blocks, or all-linear"
        )


def _check_qlora() -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise FinError("method: qlora needs bitsandbytes: `pip install bitsandbytes`, or use method: lora")
    if not torch.cuda.is_available():
        raise FinError("method: qlora needs a GPU, and none can be used here: use method: lora")


def load(config: TrainConfig, path: str) -> PreTrainedModel:
    """Load the base model: trained whole in float32, frozen in `dtype_of`; with `qlora` in 4 bits.

    Raises:
        FinError: it cannot be loaded.
    """
    settings: dict[str, Any] = {"dtype": torch.float32 if config.method == "full" else dtype_of(config)}
    if config.method == "qlora":
        settings |= {"quantization_config": _four_bits(), "device_map": {"": torch.cuda.current_device()}}
    try:
        return AutoModelForCausalLM.from_pretrained(
            path, attn_implementation=_attention(config, path), trust_remote_code=config.trust_remote_code, **settings
        )
    except (OSError, ValueError) as error:
        raise FinError(f"model: {config.model}: cannot be loaded ({first_line(error)})") from error


def _attention(config: TrainConfig, path: str) -> str | None:
    """FlashAttention where its packed batches are asked for and it is there; else the model's default.

    Before transformers 5.24 the default of Gemma 2 was `sdpa`, which leaves out its soft cap of attention scores.
    """
    from transformers.utils import is_flash_attn_2_available

    wants = config.batching in ("packed", "padding_free")
    if wants and torch.cuda.is_available() and is_flash_attn_2_available():
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


def with_adapter(model: PreTrainedModel, config: TrainConfig) -> Any:
    """The model with a fresh adapter, or as it is for `full`. Draws the adapter's weights: seed before.

    Raises:
        FinError: `lora.target_modules` names nothing in the model.
    """
    if config.method == "full":
        return model
    if config.method == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=config.gradient_checkpointing)
    try:
        return get_peft_model(model, lora_config(config))
    except ValueError as error:
        raise FinError(f"lora.target_modules: {first_line(error)}") from error


def lora_config(config: TrainConfig) -> LoraConfig:
    """PEFT's configuration of the adapter."""
    return LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=config.lora.target_modules,
        use_rslora=config.method == "rslora",
        use_dora=config.method == "dora",
        task_type="CAUSAL_LM",
    )
