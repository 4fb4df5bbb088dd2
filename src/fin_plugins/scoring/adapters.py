"""LoRA adapters as PEFT saves them: reading, naming on the command line, and the room an engine needs for them."""

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

_LORA = re.compile(r"([^.]+)\.lora_(?:embedding_)?[AB]\b")
_NAME = re.compile(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*")  # not of dots alone: `..` is a folder
BASE = "base"
"""What the base alone is called wherever models have names, `--written` among them; no adapter may be."""


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter on disk.

    Attributes:
        name: as given on the command line, `--adapter NAME=PATH`.
        path: folder with `adapter_config.json` and `adapter_model.safetensors`, absolute.
        rank: the largest rank in it.
        base: the model it was trained on, as PEFT recorded it; empty where PEFT recorded none.
        modules: last parts of the names of the modules it changes, as `q_proj`.
    """

    name: str
    path: Path
    rank: int
    base: str
    modules: tuple[str, ...]


def read_adapter(name: str, path: Path) -> Adapter:
    """Read an adapter's folder; no weights are loaded.

    Raises:
        FinError: the folder or a file in it is missing or unreadable, or it is no LoRA adapter in safetensors.
    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FinError(
            f"adapter {name}: {path} is not a folder on this machine: "
            "give the folder PEFT wrote (an adapter on a model hub has to be downloaded first)"
        )
    config = read_config(name, folder)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise FinError(
            f"adapter {name}: {folder / CONFIG} says peft_type {kind}, and only LORA can be served: "
            "merge it into the base with PEFT's merge_and_unload and pass the result as pretrained="
        )
    if not (folder / WEIGHTS).is_file():
        raise FinError(f"adapter {name}: {_no_weights(folder)}")
    base = str(config.get("base_model_name_or_path") or "")
    return Adapter(name, folder, _largest_rank(name, folder, config), base, _modules(name, folder))


def read_config(name: str, folder: Path) -> dict[str, Any]:
    """The adapter's settings, `adapter_config.json`, as PEFT wrote them.

    Raises:
        FinError: the file is missing or unreadable.
    """
    file = folder / CONFIG
    if not file.exists():
        full = (folder / "config.json").is_file()
        mend = (
            "the folder is a full checkpoint: pass it as pretrained= instead"
            if full
            else "give the folder that PEFT's save_pretrained wrote"
        )
        raise FinError(f"adapter {name}: {folder} has no {CONFIG}: {mend}")
    try:
        config = read_json(file)
    except UnreadableFile as error:
        raise FinError(f"adapter {name}: {file} cannot be read ({error.reason}): save the adapter again") from error
    if not isinstance(config, dict):
        raise FinError(f"adapter {name}: {file} is not a mapping of settings: save the adapter again")
    return config


def _no_weights(folder: Path) -> str:
    if (folder / "adapter_model.bin").is_file():
        return (
            f"{folder} has its weights in adapter_model.bin only, a pickle, which can run code when read: "
            "load it with PEFT where you trust it and save it with save_pretrained(FOLDER), which writes safetensors"
        )
    return f"{folder} has no {WEIGHTS}: give the folder that PEFT's save_pretrained wrote"


def _largest_rank(name: str, folder: Path, config: dict[str, Any]) -> int:
    pattern = config.get("rank_pattern") or {}
    ranks: list[Any] = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    whole = [rank for rank in ranks if isinstance(rank, int) and rank > 0]
    if len(whole) < len(ranks):
        raise FinError(f"adapter {name}: {folder / CONFIG} has ranks {ranks}, not positive numbers: save it again")
    return max(whole)


def parse_adapter_flag(flag: str) -> Adapter:
    """The adapter that `--adapter NAME=PATH` names.

    Raises:
        FinError: the flag is not of that form, the name is none for an adapter, or the folder is no adapter.
    """
    name, equals, path = flag.partition("=")
    if not equals or not path:
        raise FinError(f"--adapter {flag}: expected NAME=PATH, for example --adapter fomc=adapters/fomc")
    check_name(f"--adapter {flag}", name)
    return read_adapter(name, Path(path))


def check_name(where: str, name: str) -> None:
    """Check a name for an adapter.

    Args:
        where: for the message.
        name: the name.

    Raises:
        FinError: it has odd characters, or is what the base is called.
    """
    if not _NAME.fullmatch(name):
        raise FinError(f"{where}: the name {name!r} must be made of letters, digits, '.', '_' and '-'")
    if name.lower() == BASE:
        raise FinError(f"{where}: {name} is what the base model is called: choose another name for the adapter")


def read_adapters(flags: Sequence[str]) -> list[Adapter]:
    """All adapters named by `--adapter` flags, in their order.

    Raises:
        FinError: as `parse_adapter_flag`, or where a name or a folder is given twice.
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


def engine_limits(adapters: Sequence[Adapter]) -> dict[str, Any]:
    """The arguments of vLLM that make room for the adapters; empty without adapters.

    Raises:
        FinError: an adapter's rank is larger than vLLM serves.
    """
    if not adapters:
        return {}
    widest = max(adapters, key=lambda adapter: adapter.rank)
    ranks = lora_ranks()
    allowed = [rank for rank in ranks if rank >= widest.rank]
    if not allowed:
        raise FinError(
            f"adapter {widest.name}: rank {widest.rank} is above {max(ranks)}, the largest vLLM serves: "
            "merge it into the base with PEFT's merge_and_unload, or use --model fin_hf"
        )
    return {
        "enable_lora": True,
        "max_lora_rank": min(allowed),
        # Without this vLLM wraps lm_head too, and vLLM 0.32's CPU build then fails at any request for prompt_logprobs.
        "lora_target_modules": sorted({module for adapter in adapters for module in adapter.modules}),
        # Models are scored one after another, so a batch never holds two adapters. A further slot would take memory
        # for max_lora_rank in *every* linear layer (about 0.17 GB for 8B at rank 32) from the KV cache for nothing, and
        # one slot keeps the kernels those of a plain lm-eval run. A change of adapter is one copy from host memory.
        "max_loras": 1,
        # Host memory: an adapter stays loaded between its check and its scoring; beyond a few, it is read again.
        "max_cpu_loras": min(len(adapters), 8),
    }


def _modules(name: str, folder: Path) -> tuple[str, ...]:
    """From the tensors and not from the settings, which may hold a regular expression."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as tensors:
            names = list(tensors.keys())
    except (OSError, SafetensorError) as error:
        file = folder / WEIGHTS
        raise FinError(f"adapter {name}: {file} cannot be read ({error}): save the adapter again") from error
    return tuple(sorted({match[1] for tensor in names if (match := _LORA.search(tensor))}))
