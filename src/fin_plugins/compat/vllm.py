"""vLLM's engine internals, tested with 0.32, the first version with `logprob_token_ids`.

Assumed of `vllm.LLM`: `llm_engine.engine_core.shutdown()` ends the engine's process;
`llm_engine.vllm_config.cache_config` has `block_size` (tokens), `num_gpu_blocks` and `enable_prefix_caching`;
`llm_engine.model_config.dtype` is its dtype. And of `vllm.config.lora`: `MaxLoRARanks` is a `Literal` of all supported
maximum ranks.

vLLM takes 14 s to import, so nothing here imports it.
"""

import sys
from typing import Any, get_args

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Maximum LoRA ranks that vLLM 0.32 supports."""


def lora_ranks() -> tuple[int, ...]:
    """Maximum LoRA ranks that the imported vLLM supports; `LORA_RANKS` if vLLM is not imported."""
    loaded = sys.modules.get("vllm.config.lora")
    return tuple(get_args(loaded.MaxLoRARanks)) if loaded else LORA_RANKS


def shut_down(llm: Any) -> None:
    """End the engine's process; vLLM itself does so only at interpreter exit."""
    llm.llm_engine.engine_core.shutdown()


def cache_block(llm: Any) -> int:
    """Tokens per block of the prefix cache; 0 without a prefix cache."""
    cache = llm.llm_engine.vllm_config.cache_config
    return int(cache.block_size) if cache.enable_prefix_caching else 0


def cache_tokens(llm: Any) -> int:
    """Capacity of the KV cache in tokens."""
    cache = llm.llm_engine.vllm_config.cache_config
    return int(cache.num_gpu_blocks or 0) * int(cache.block_size)


def is_llm(model: Any) -> bool:
    """Whether a model is an `LLM` of vLLM."""
    return getattr(model, "llm_engine", None) is not None


def dtype_of(llm: Any) -> Any:
    """The engine's `torch.dtype`."""
    return llm.llm_engine.model_config.dtype
