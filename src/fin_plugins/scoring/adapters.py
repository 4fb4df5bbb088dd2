"""LoRA adapters saved by PEFT: their files, `--adapter NAME=PATH` flags, and the vLLM arguments that they need."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json
from fin_plugins.compat.vllm import lora_ranks

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

BASE = "base"
"""Name of the base model wherever models are named, including `--written`; an adapter cannot have it."""

_MODULE_OF_TENSOR = re.compile(r"([^.]+)\.lora_(?:embedding_)?[AB]\b")
_ADAPTER_NAME = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*")  # not only dots: `..` is a folder


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter on disk.

    Attributes:
        name: as given by `--adapter NAME=PATH`.
        path: absolute path of the folder with `adapter_config.json` and `adapter_model.safetensors`.
        rank: largest rank of any module.
        base: base model recorded by PEFT; empty if none is recorded.
        modules: last name components of the adapted modules, such as `q_proj`.
    """

    name: str
    path: Path
    rank: int
    base: str
    modules: tuple[str, ...]


def read_adapter(name: str, path: Path) -> Adapter:
    """Read an adapter folder without loading its weights.

    Raises:
        FinError: a file is missing or unreadable, or the folder holds something other than LoRA in safetensors.
    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FinError(
            f"adapter {name}: {path} is not a folder on this machine: "
            "give the folder that PEFT wrote (download an adapter from a model hub first)"
        )
    config = read_adapter_config(name, folder)
    peft_type = config.get("peft_type")
    if peft_type != "LORA":
        raise FinError(
            f"adapter {name}: {folder / CONFIG} has peft_type {peft_type}, but only LORA can be served: "
            "merge it into the base with PEFT's merge_and_unload and pass the result as pretrained="
        )
    if not (folder / WEIGHTS).is_file():
        raise FinError(f"adapter {name}: {_describe_missing_weights(folder)}")
    base = str(config.get("base_model_name_or_path") or "")
    return Adapter(name, folder, _largest_rank(name, folder, config), base, _adapted_modules(name, folder))


def read_adapter_config(name: str, folder: Path) -> dict[str, Any]:
    """Read `adapter_config.json`.

    Raises:
        FinError: the file is missing or unreadable.
    """
    file = folder / CONFIG
    if not file.exists():
        remedy = (
            "the folder is a full checkpoint: pass it as pretrained= instead"
            if (folder / "config.json").is_file()
            else "give the folder that PEFT's save_pretrained wrote"
        )
        raise FinError(f"adapter {name}: {folder} has no {CONFIG}: {remedy}")
    try:
        config = read_json(file)
    except UnreadableFile as error:
        raise FinError(f"adapter {name}: {file} cannot be read ({error.reason}): save the adapter again") from error
    if not isinstance(config, dict):
        raise FinError(f"adapter {name}: {file} is not a mapping of settings: save the adapter again")
    return config


def parse_adapter_flag(flag: str) -> Adapter:
    """Read the adapter of an `--adapter NAME=PATH` flag.

    Raises:
        FinError: the flag has another form, the name is invalid, or the folder is not an adapter.
    """
    name, equals, path = flag.partition("=")
    if not equals or not path:
        raise FinError(f"--adapter {flag}: expected NAME=PATH, for example --adapter fomc=adapters/fomc")
    check_adapter_name(f"--adapter {flag}", name)
    return read_adapter(name, Path(path))


def check_adapter_name(source: str, name: str) -> None:
    """Check that a name is valid for an adapter.

    Args:
        source: option that gives the name, for the message.
        name: the name.

    Raises:
        FinError: the name has unsupported characters, or is reserved for the base.
    """
    if not _ADAPTER_NAME.fullmatch(name):
        raise FinError(f"{source}: the name {name!r} must consist of letters, digits, '.', '_' and '-'")
    if name.lower() == BASE:
        raise FinError(f"{source}: {name} is the name of the base model: choose another name for the adapter")


def read_adapters(flags: Sequence[str]) -> list[Adapter]:
    """Read the adapters of all `--adapter` flags, in order.

    Raises:
        FinError: as `parse_adapter_flag`, or a name or folder occurs twice.
    """
    adapters: list[Adapter] = []
    for flag in flags:
        adapter = parse_adapter_flag(flag)
        for other in adapters:
            if other.name == adapter.name:
                raise FinError(f"--adapter {flag}: the name {adapter.name} is given twice: choose another name")
            if other.path.resolve() == adapter.path.resolve():
                raise FinError(f"--adapter {flag}: the same folder as adapter {other.name}: name it once")
        adapters.append(adapter)
    return adapters


def vllm_lora_arguments(adapters: Sequence[Adapter]) -> dict[str, Any]:
    """Return the vLLM arguments that reserve room for the adapters; empty without adapters.

    Raises:
        FinError: an adapter's rank is larger than vLLM supports.
    """
    if not adapters:
        return {}
    largest = max(adapters, key=lambda adapter: adapter.rank)
    supported = lora_ranks()
    sufficient = [rank for rank in supported if rank >= largest.rank]
    if not sufficient:
        raise FinError(
            f"adapter {largest.name}: rank {largest.rank} is above {max(supported)}, the largest that vLLM serves: "
            "merge it into the base with PEFT's merge_and_unload, or use --model fin_hf"
        )
    return {
        "enable_lora": True,
        "max_lora_rank": min(sufficient),
        # Without this vLLM also wraps lm_head, and vLLM 0.32's CPU build then fails on requests for prompt_logprobs.
        "lora_target_modules": sorted({module for adapter in adapters for module in adapter.modules}),
        # Models are scored one after another, so a batch never mixes adapters. Each further slot takes memory for
        # max_lora_rank in *every* linear layer (about 0.17 GB for 8B at rank 32) from the KV cache, and with a single
        # slot the kernels are those of a plain lm-eval run. Switching adapters is one copy from host memory.
        "max_loras": 1,
        # Host memory: an adapter stays loaded between its check and its scoring; beyond eight it is read again.
        "max_cpu_loras": min(len(adapters), 8),
    }


def _describe_missing_weights(folder: Path) -> str:
    if (folder / "adapter_model.bin").is_file():
        return (
            f"{folder} has its weights only in adapter_model.bin, a pickle, which can run code when read: "
            "load it with PEFT if you trust it and save it with save_pretrained(FOLDER), which writes safetensors"
        )
    return f"{folder} has no {WEIGHTS}: give the folder that PEFT's save_pretrained wrote"


def _largest_rank(name: str, folder: Path, config: dict[str, Any]) -> int:
    pattern = config.get("rank_pattern") or {}
    ranks: list[Any] = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    valid = [rank for rank in ranks if isinstance(rank, int) and rank > 0]
    if len(valid) < len(ranks):
        raise FinError(f"adapter {name}: {folder / CONFIG} has ranks {ranks}, not positive integers: save it again")
    return max(valid)


def _adapted_modules(name: str, folder: Path) -> tuple[str, ...]:
    """Taken from the tensors: `target_modules` in the config may be a regular expression."""
    from safetensors import SafetensorError, safe_open

    file = folder / WEIGHTS
    try:
        with safe_open(file, framework="numpy") as tensors:
            names = list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise FinError(f"adapter {name}: {file} cannot be read ({error}): save the adapter again") from error
    return tuple(sorted({match[1] for tensor in names if (match := _MODULE_OF_TENSOR.search(tensor))}))
