"""What a model's answers depend on, told by content: two runs may share answers only where all of it is the same."""

import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fin_plugins import __version__
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.scoring.adapters import CONFIG, Adapter

# Arguments that name the model or its files, whose content is hashed, so that a moved folder stays the same model; and
# those that name a place for files.
_CONTENT = ("pretrained", "tokenizer", "delta", "peft")
_PLACES = ("adapter_name", "download_dir", "cache_dir", "offload_folder")
_NAMES = frozenset({*_CONTENT, *_PLACES})
_LIBRARIES = ("lm_eval", "torch", "transformers", "tokenizers", "peft")
_ENGINES = {"fin_vllm": ("vllm",), "fin_hf": ("accelerate",)}
# vLLM's environment variables choose kernels; these parts of their names are about other things.
_NO_KERNEL = (
    *("LOG", "USAGE", "TRACK", "STATS", "API_KEY", "TIMEOUT", "HOST", "PORT", "RPC", "MULTIPROC"),
    *("CACHE_ROOT", "CACHE_PATH", "CACHE_DIR", "CONFIG_ROOT", "KVCACHE_SPACE", "RESERVED_CPU", "OMP_THREADS"),
)
_TOKENIZER_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py"]
_OF_FILES = ("base", "tokenizer", "delta", "adapter")  # ingredients that are hashes by name of a file
_FORMATS = (["*.safetensors"], ["*.bin", "*.pt", "*.gguf"])


def ingredients(
    engine: str,
    arguments: Mapping[str, Any],
    adapter: Adapter | None,
    batch: Mapping[str, Any],
    device: Mapping[str, str],
) -> dict[str, Any]:
    """All that goes into a model's answers beside the prompts, by content, as a JSON value.

    Args:
        engine: lm-eval's name of the model class.
        arguments: The base's model arguments.
        adapter: The adapter, None for the base alone.
        batch: `batch_size` and the like, which change rounding.
        device: As `device_of` gives it.

    Raises:
        FinError: a model's files cannot be found or read.
    """
    base = base_folder(arguments)
    tokenizer, delta = arguments.get("tokenizer"), arguments.get("delta")
    return {
        "engine": engine,
        "versions": _versions(engine),
        "code": _our_code(),
        "device": dict(device),
        "environment": _environment() if engine == "fin_vllm" else {},
        "base": _content(base, str(arguments.get("subfolder") or "")),
        "tokenizer": _content(_folder(str(tokenizer), arguments, "tokenizer")) if tokenizer else {},
        "delta": _content(_folder(str(delta), arguments, "delta")) if delta else {},
        "adapter": hash_files(_adapter_files(adapter), adapter.path) if adapter else {},
        "arguments": {name: _argument(value, base) for name, value in sorted(arguments.items()) if name not in _NAMES},
        "batch": dict(batch),
    }


def base_folder(arguments: Mapping[str, Any]) -> Path:
    """Where the base model's files lie: the folder itself, or the local snapshot of a model from the hub.

    Raises:
        FinError: there is no such folder, and the hub and its cache have no such model.
    """
    pretrained = arguments.get("pretrained")
    if not pretrained:
        raise FinError("--model_args names no model: add pretrained=FOLDER_OR_HUB_NAME")
    return _folder(str(pretrained), arguments, "pretrained")


def device_of(engine: str, asked: str | None) -> dict[str, str]:
    """Type and name of the device that the engine will compute on, without starting it.

    Args:
        engine: lm-eval's name of the model class.
        asked: lm-eval's `--device`; vLLM takes no notice of it.

    Raises:
        FinError: the engine's library is not installed.
    """
    if engine == "fin_vllm":
        try:
            cpu_build = version("vllm").endswith("+cpu")
        except PackageNotFoundError as error:
            raise FinError('vLLM is not installed: `pip install "fin-plugins[vllm]"`, or use --model fin_hf') from error
        if cpu_build:
            return _cpu()
        from vllm.platforms import current_platform  # asks NVML: no CUDA context before vLLM's own processes start

        return {"type": str(current_platform.device_type), "name": str(current_platform.get_device_name())}
    import torch

    if not torch.cuda.is_available() or str(asked).startswith(("cpu", "mps")):
        return {"type": "mps", "name": platform.machine()} if str(asked).startswith("mps") else _cpu()
    return {"type": "cuda", "name": torch.cuda.get_device_name(asked if ":" in str(asked) else None)}


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the ingredients that differ, for people: `dtype`, `base model.safetensors`, `torch`."""
    names = []
    for group in new:
        before, after = old.get(group), new[group]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            parts = sorted(part for part in {*before, *after} if before.get(part) != after.get(part))
            names += [f"{group} {part}" if group in _OF_FILES else part for part in parts]
        elif before != after:
            names.append(group)
    return names


def _adapter_files(adapter: Adapter) -> list[Path]:
    # Trainers leave a tokenizer and a README beside the adapter; no engine reads them.
    return sorted(file for file in adapter.path.iterdir() if file.name.startswith(("adapter_", "new_embeddings")))


def _content(path: Path, subfolder: str = "") -> dict[str, str]:
    """The hashes of a file, or of a model's folder; of its base too, where transformers would load that instead."""
    if path.is_file():
        return {"content": hash_files([path], path.parent)[path.name]}
    files = model_files(path)
    if subfolder and not (path / subfolder).is_dir():
        raise FinError(f"subfolder={subfolder}: {path} has no such folder: name one that it has, or leave it out")
    files += model_files(path / subfolder) if subfolder else []
    found = hash_files(files, path)
    base = _base_of_adapter(path)
    if base:
        found |= {f"base of the adapter {name}": sha for name, sha in hash_files(model_files(base), base).items()}
    return found


def _base_of_adapter(folder: Path) -> Path | None:
    """The folder of the model that the adapter in `folder` is for, where there is an adapter and the model is here."""
    try:
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
        base = Path(str(named)).expanduser()
        return base if base.is_dir() and base.resolve() != folder.resolve() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _argument(value: Any, base: Path) -> Any:
    """A model argument; where it names a file or folder, here or in the base's folder, that one's content.

    A name without a slash may be a mere word, and the folder of that name have nothing to do with it: both count.
    """
    if isinstance(value, Mapping):
        return {str(name): _argument(below, base) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_argument(below, base) for below in value]
    if isinstance(value, str) and (found := _named(value, base)):
        content = [_content(path) for path in found]
        return content if os.sep in value else [value, *content]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _named(value: str, base: Path) -> list[Path]:
    """The files and folders that an argument may name, from the working folder and from the base's."""
    if not value:
        return []
    try:
        places = dict.fromkeys([Path(value).expanduser(), base / value])
        return [place for place in places if place.is_file() or place.is_dir()]
    except (OSError, ValueError, RuntimeError):  # no name of a file: too long, odd characters, nobody's home
        return []


def _folder(name: str, arguments: Mapping[str, Any], setting: str) -> Path:
    local = Path(name).expanduser()
    if local.exists():
        return local.resolve()
    model = setting != "tokenizer"
    revision = arguments.get("revision" if model else "tokenizer_revision")
    for weights in _FORMATS if model else ([],):
        folder = _snapshot(name, revision, [*_TOKENIZER_FILES, *weights], arguments.get("download_dir"), setting)
        if not weights or any(True for pattern in weights for _ in folder.rglob(pattern)):
            return folder
    raise FinError(f"{setting}={name}: the model's files on the hub hold no weights (safetensors, bin, pt or gguf)")


def _snapshot(name: str, revision: Any, patterns: list[str], cache: Any, setting: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, revision=str(revision) if revision else None, allow_patterns=patterns, cache_dir=cache
        )
    except Exception as error:  # the hub's client raises many kinds: no network, no such name, no permission
        raise FinError(
            f"{setting}={name}: no such folder here, and not to be had from the model hub or its cache "
            f"({first_line(error)}): give a folder, or download the model first"
        ) from error
    return Path(found)


def _environment() -> dict[str, str]:
    chosen = (name for name in os.environ if name.startswith("VLLM_") and not any(no in name for no in _NO_KERNEL))
    return {name: os.environ[name] for name in sorted(chosen)}


def _versions(engine: str) -> dict[str, str]:
    found = {"fin-plugins": __version__}
    for name in (*_LIBRARIES, *_ENGINES.get(engine, ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


@cache
def _our_code() -> str:
    """A hash of the code that asks and scores: between two releases the version stays the same while the code does not.

    Taken once a process: what is edited later is not what runs.
    """
    package = Path(__file__).parents[1]
    files = [file for folder in ("scoring", "evaluation") for file in sorted((package / folder).glob("*.py"))]
    return digest(hash_files(files, package))


def _cpu() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return {"type": "cpu", "name": name or platform.machine()}
