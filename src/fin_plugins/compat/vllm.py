"""vLLM's engine, below what `LLM` documents; tried with 0.32, the first version with `logprob_token_ids`.

Assumed of `vllm.LLM`: `llm_engine.engine_core.shutdown()` ends the engine's process;
`llm_engine.vllm_config.cache_config` has `block_size` (tokens), `num_gpu_blocks` and `enable_prefix_caching`;
`llm_engine.model_config.dtype` is what it computes in. And of `vllm.config.lora`: `MaxLoRARanks` is a `Literal` of all
ranks that room can be made for.

vLLM takes 14 s to import: nothing here imports it.
"""

import sys
from typing import Any, get_args

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM 0.32 can make room for."""


def lora_ranks() -> tuple[int, ...]:
    """The ranks that the running vLLM can make room for; `LORA_RANKS` where vLLM has not been imported."""
    loaded = sys.modules.get("vllm.config.lora")
    return tuple(get_args(loaded.MaxLoRARanks)) if loaded else LORA_RANKS


def shut_down(llm: Any) -> None:
    """End the engine's process; vLLM does so by itself only when the interpreter ends."""
    llm.llm_engine.engine_core.shutdown()


def cache_block(llm: Any) -> int:
    """Tokens in a block of the prefix cache; 0 where the engine has no prefix cache."""
    cache = llm.llm_engine.vllm_config.cache_config
    return int(cache.block_size) if cache.enable_prefix_caching else 0


def cache_tokens(llm: Any) -> int:
    """Tokens that the whole KV cache holds."""
    cache = llm.llm_engine.vllm_config.cache_config
    return int(cache.num_gpu_blocks or 0) * int(cache.block_size)


def is_llm(model: Any) -> bool:
    """Whether a model object is vLLM's `LLM`."""
    return getattr(model, "llm_engine", None) is not None


def dtype_of(llm: Any) -> Any:
    """What the engine computes in, a `torch.dtype`."""
    return llm.llm_engine.model_config.dtype
