"""From lm-eval's model arguments to who a model is: `model_name` will not do, an adapter may have its base's there."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fin_plugins.board.reading.values import mapping, without_empty
from fin_plugins.common.foreign_files import get_in

_BASES = ("pretrained", "model", "path", "engine")  # in lm-eval's own order
_ADAPTERS = ("peft", "lora_local_path", "delta")
# Arguments that say where and how fast, and not what is computed.
_HOW = frozenset(
    {
        *("adapter_name", "device", "device_map", "parallelize", "max_memory_per_gpu", "max_cpu_memory"),
        *("offload_folder", "download_dir", "cache_dir", "trust_remote_code", "batch_size", "max_batch_size", "seed"),
        *(
            "tensor_parallel_size",
            "data_parallel_size",
            "pipeline_parallel_size",
            "gpu_memory_utilization",
            "cpu_offload",
        ),
        *("max_model_len", "max_length", "max_num_seqs", "max_num_batched_tokens", "enforce_eager", "swap_space"),
        *(
            "enable_prefix_caching",
            "enable_lora",
            "max_lora_rank",
            "max_loras",
            "logits_cache",
            "prune",
            "num_concurrent",
        ),
        *("base_url", "api_key", "max_retries", "timeout", "tokenized_requests", "disable_log_stats", "backend"),
    }
)
_QUIET = frozenset({"auto", "none", "false", "main"})
_HUB_CACHE = re.compile(r".*[/\\]models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\][^/\\]+", re.DOTALL)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_GENERIC = re.compile(
    r"checkpoint[-_]?\d*|adapter|final|best|last|merged|model|lora|out|output|snapshot|\d+", re.IGNORECASE
)
_HOMES = frozenset({"home", "users", "root", "", "~", ".", ".."})


@dataclass(frozen=True)
class Identity:
    """Who a model is, as the arguments say it.

    Attributes:
        base: path or hub name of the base; lm-eval's model class where there is none.
        adapter: path or name of the adapter, empty without.
        adapter_name: the name it was given, empty without.
        variant: what else changes the answers, such as (("dtype", "float32"),); sorted.
    """

    base: str
    adapter: str
    adapter_name: str
    variant: tuple[tuple[str, str], ...]


def arguments(given: Any) -> dict[str, Any]:
    """Model arguments as a mapping: newer versions write one, older ones the text `pretrained=x,dtype=y`."""
    if isinstance(given, dict):
        return given
    pairs = (part.partition("=") for part in given.split(",")) if isinstance(given, str) else ()
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def identity(engine: str, given: Mapping[str, Any], dtype: str = "") -> Identity:
    """Who the model is.

    Args:
        engine: lm-eval's model class.
        given: model arguments.
        dtype: the type that the model really has, where the file says so.
    """
    base = next((name for name in _BASES if given.get(name)), None)
    adapter = next((str(given[name]) for name in _ADAPTERS if given.get(name)), "")
    name = str(given.get("adapter_name") or "")
    others = {key: value for key, value in given.items() if key not in {*_HOW, *_ADAPTERS, base}}
    if base and others.get("tokenizer") == given[base]:
        del others["tokenizer"]
    if dtype:
        others["dtype"] = dtype
    plain = {key: str(value).removeprefix("torch.") for key, value in without_empty(others).items()}
    variant = tuple(sorted((key, value) for key, value in plain.items() if value.lower() not in _QUIET))
    return Identity(_normal(str(given[base])) if base else engine, _normal(adapter) or name, name, variant)


def settings(data: Mapping[str, Any]) -> dict[str, str]:
    """What a reader may want to know of the run beside the model; places are cut to their last part."""
    config = mapping(data.get("config"), "`config`")
    given = arguments(config.get("model_args"))
    adapter = next((given[name] for name in _ADAPTERS if given.get(name)), None)
    torch = re.search(r"PyTorch version: (\S{1,40})", str(data.get("pretty_env_info")))
    gpu = re.search(r"^GPU 0: (.{1,60})$", str(data.get("pretty_env_info")), re.MULTILINE)
    found = {
        "dtype": config.get("model_dtype") or given.get("dtype"),
        "adapter": short_name(str(adapter)) if adapter else None,
        "quantization": short_name(str(given.get("quantization") or "")),
        "revision": short_name(str(config.get("model_sha") or given.get("revision") or "")),
        "batch_size": config.get("batch_size"),
        "seed": get_in(config, "fewshot_seed"),
        "transformers": data.get("transformers_version"),
        "torch": torch[1] if torch else None,
        "gpu": gpu[1] if gpu else None,
    }
    return {name: str(value).removeprefix("torch.")[:80] for name, value in without_empty(found).items()}


def is_hub_name(name: str) -> bool:
    """Whether the text may be `organisation/model` on the hub, and not a folder; a guess by its look."""
    return bool(_HUB_NAME.fullmatch(name)) and not name.startswith((".", "~"))


def short_name(path: str) -> str:
    """A readable name without the folders above it: the last part, or two where the last is `checkpoint-500` or so."""
    cached = _HUB_CACHE.fullmatch(path)
    if cached:
        return cached[2]
    parts = re.split(r"[/\\]", path.rstrip("/\\"))
    above = parts[-2] if len(parts) > 1 else ""
    in_home = above.lower() in _HOMES or above.startswith("~") or above.endswith(":")
    in_homes = len(parts) > 2 and parts[-3].lower() in {"home", "users"}  # then the folder above is a person's name
    return f"{above}/{parts[-1]}" if _GENERIC.fullmatch(parts[-1]) and not (in_home or in_homes) else parts[-1]


def _normal(path: str) -> str:
    return posixpath.normpath(path) if path else ""
