"""Cache keys: everything that a model's answers depend on, by content. Runs share answers only if all is equal."""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fin_plugins import __version__
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.scoring.adapters import CONFIG, Adapter

SCHEMA = 1
"""Version of the cache format; part of every key."""

# Model arguments that are excluded from the key as such: those that name the model or its files, whose content is
# hashed so that a moved folder remains the same model, and those that name a place for files.
_HASHED_ARGUMENTS = ("pretrained", "tokenizer", "delta", "peft")
_PLACE_ARGUMENTS = ("adapter_name", "download_dir", "cache_dir", "offload_folder")
_EXCLUDED_ARGUMENTS = frozenset({*_HASHED_ARGUMENTS, *_PLACE_ARGUMENTS})
_LIBRARIES = ("lm_eval", "torch", "transformers", "tokenizers", "peft")
_ENGINE_LIBRARIES = {"fin_vllm": ("vllm",), "fin_hf": ("accelerate",)}
# vLLM's environment variables select kernels, except those with one of these words in their name.
_NON_KERNEL_WORDS = (
    *("LOG", "USAGE", "TRACK", "STATS", "API_KEY", "TIMEOUT", "HOST", "PORT", "RPC", "MULTIPROC"),
    *("CACHE_ROOT", "CACHE_PATH", "CACHE_DIR", "CONFIG_ROOT", "KVCACHE_SPACE", "RESERVED_CPU", "OMP_THREADS"),
)
_TOKENIZER_PATTERNS = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py"]
_WEIGHT_PATTERNS = (["*.safetensors"], ["*.bin", "*.pt", "*.gguf"])
_FILE_HASH_GROUPS = ("base", "tokenizer", "delta", "adapter")


@dataclass(frozen=True)
class AnswerSettings:
    """What answers depend on besides model and prompt.

    Attributes:
        prune: whether labels that cannot win are scored only in part.
        seeds: lm-eval's seeds, for generation.
    """

    prune: bool = False
    seeds: tuple[int | None, ...] = ()

    def for_request_type(self, kind: str) -> dict[str, Any]:
        """The settings that affect a request type."""
        if kind == "generate_until":
            return {"seeds": list(self.seeds)}
        return {"prune": self.prune and kind == "loglikelihood"}


def entry_key(
    model_hash: str, task: str, kind: str, requests: Iterable[Sequence[Any]], settings: dict[str, Any]
) -> str:
    """Key of one model's answers to one task: a SHA-256 of all that they depend on.

    Args:
        model_hash: digest of the model's `key_inputs`.
        task: lm-eval's name of the task.
        kind: lm-eval's request type.
        requests: arguments of all requests, in order.
        settings: from `AnswerSettings`.
    """
    return digest([SCHEMA, model_hash, task, kind, [list(arguments) for arguments in requests], settings])


def key_inputs(
    engine: str,
    arguments: Mapping[str, Any],
    adapter: Adapter | None,
    batch: Mapping[str, Any],
    device: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that determines a model's answers besides the prompts, by content, as a JSON value.

    Args:
        engine: lm-eval's name of the model class.
        arguments: model arguments of the base.
        adapter: the adapter; None for the base alone.
        batch: `batch_size` and the like, which affect rounding.
        device: from `engine_device`.

    Raises:
        FinError: a model's files cannot be found or read.
    """
    base = base_folder(arguments)
    tokenizer, delta = arguments.get("tokenizer"), arguments.get("delta")
    return {
        "engine": engine,
        "versions": _versions(engine),
        "code": scoring_code_hash(),
        "device": dict(device),
        "environment": _vllm_environment() if engine == "fin_vllm" else {},
        "base": _content_hashes(base, str(arguments.get("subfolder") or "")),
        "tokenizer": _content_hashes(_model_folder(str(tokenizer), arguments, "tokenizer")) if tokenizer else {},
        "delta": _content_hashes(_model_folder(str(delta), arguments, "delta")) if delta else {},
        "adapter": hash_files(_adapter_files(adapter), adapter.path) if adapter else {},
        "arguments": {
            name: _argument_value(value, base)
            for name, value in sorted(arguments.items())
            if name not in _EXCLUDED_ARGUMENTS
        },
        "batch": dict(batch),
    }


def changed_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Readable names of the key inputs that differ, such as `dtype`, `base model.safetensors` or `torch`."""
    names = []
    for group in new:
        before, after = old.get(group), new[group]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            parts = sorted(part for part in {*before, *after} if before.get(part) != after.get(part))
            names += [f"{group} {part}" if group in _FILE_HASH_GROUPS else part for part in parts]
        elif before != after:
            names.append(group)
    return names


def base_folder(arguments: Mapping[str, Any]) -> Path:
    """Folder of the base model's files: a local folder, or the local snapshot of a model from the hub.

    Raises:
        FinError: neither the folder nor a model of this name in the hub or its cache exists.
    """
    pretrained = arguments.get("pretrained")
    if not pretrained:
        raise FinError("--model_args names no model: add pretrained=FOLDER_OR_HUB_NAME")
    return _model_folder(str(pretrained), arguments, "pretrained")


def engine_device(engine: str, requested: str | None) -> dict[str, str]:
    """Type and name of the device that the engine will use, found without starting it.

    Args:
        engine: lm-eval's name of the model class.
        requested: lm-eval's `--device`, which vLLM ignores.

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
        from vllm.platforms import current_platform  # uses NVML: no CUDA context before vLLM's own processes start

        return {"type": str(current_platform.device_type), "name": str(current_platform.get_device_name())}
    import torch

    if not torch.cuda.is_available() or str(requested).startswith(("cpu", "mps")):
        return {"type": "mps", "name": platform.machine()} if str(requested).startswith("mps") else _cpu()
    return {"type": "cuda", "name": torch.cuda.get_device_name(requested if ":" in str(requested) else None)}


@cache
def scoring_code_hash() -> str:
    """A hash of the code that scores, because it may change between two releases without a new version number.

    Computed once per process: later edits are not what runs.
    """
    package = Path(__file__).parents[1]
    files = [file for folder in ("scoring", "evaluation") for file in sorted((package / folder).glob("*.py"))]
    return digest(hash_files(files, package))


def _adapter_files(adapter: Adapter) -> list[Path]:
    # Trainers leave a tokenizer and a README beside the adapter; no engine reads them.
    return sorted(file for file in adapter.path.iterdir() if file.name.startswith(("adapter_", "new_embeddings")))


def _content_hashes(path: Path, subfolder: str = "") -> dict[str, str]:
    """Hashes of a file, or of a model folder; includes the base that transformers loads for an adapter's folder."""
    if path.is_file():
        return {"content": hash_files([path], path.parent)[path.name]}
    files = model_files(path)
    if subfolder and not (path / subfolder).is_dir():
        raise FinError(f"subfolder={subfolder}: {path} has no such folder: name an existing one, or leave it out")
    files += model_files(path / subfolder) if subfolder else []
    hashes = hash_files(files, path)
    base = _base_of_adapter_folder(path)
    if base:
        hashes |= {f"base of the adapter {name}": sha for name, sha in hash_files(model_files(base), base).items()}
    return hashes


def _base_of_adapter_folder(folder: Path) -> Path | None:
    """Folder of the model recorded by the adapter in `folder`; None without an adapter or if it is not local."""
    try:
        recorded = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
        base = Path(str(recorded)).expanduser()
        return base if base.is_dir() and base.resolve() != folder.resolve() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _argument_value(value: Any, base: Path) -> Any:
    """A model argument; if it names a file or folder, here or in the base's folder, the hashes of its content.

    A name without a slash may be a mere word that a folder happens to share, so both the word and the content count.
    """
    if isinstance(value, Mapping):
        return {str(name): _argument_value(item, base) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_argument_value(item, base) for item in value]
    if isinstance(value, str) and (paths := _named_paths(value, base)):
        content = [_content_hashes(path) for path in paths]
        return content if os.sep in value else [value, *content]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _named_paths(value: str, base: Path) -> list[Path]:
    """Existing files and folders that an argument may name, relative to the working folder or to the base's."""
    if not value:
        return []
    try:
        candidates = dict.fromkeys([Path(value).expanduser(), base / value])
        return [path for path in candidates if path.is_file() or path.is_dir()]
    except (OSError, ValueError, RuntimeError):  # not a file name: too long, invalid characters, unknown user
        return []


def _model_folder(name: str, arguments: Mapping[str, Any], setting: str) -> Path:
    local = Path(name).expanduser()
    if local.exists():
        return local.resolve()
    is_model = setting != "tokenizer"
    revision = arguments.get("revision" if is_model else "tokenizer_revision")
    for weights in _WEIGHT_PATTERNS if is_model else ([],):
        folder = _hub_snapshot(name, revision, [*_TOKENIZER_PATTERNS, *weights], arguments.get("download_dir"), setting)
        if not weights or any(True for pattern in weights for _ in folder.rglob(pattern)):
            return folder
    raise FinError(
        f"{setting}={name}: the model on the hub has no weights in safetensors, bin, pt or gguf: name another model"
    )


def _hub_snapshot(name: str, revision: Any, patterns: list[str], cache_dir: Any, setting: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, revision=str(revision) if revision else None, allow_patterns=patterns, cache_dir=cache_dir
        )
    except Exception as error:  # the hub's client raises many types: no network, no such name, no permission
        raise FinError(
            f"{setting}={name}: no such folder here, and not available from the model hub or its cache "
            f"({first_line(error)}): give a folder, or download the model first"
        ) from error
    return Path(folder)


def _vllm_environment() -> dict[str, str]:
    names = (name for name in os.environ if name.startswith("VLLM_"))
    return {name: os.environ[name] for name in sorted(names) if not any(word in name for word in _NON_KERNEL_WORDS)}


def _versions(engine: str) -> dict[str, str]:
    versions = {"fin-plugins": __version__}
    for name in (*_LIBRARIES, *_ENGINE_LIBRARIES.get(engine, ())):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "none"
    return versions


def _cpu() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return {"type": "cpu", "name": name or platform.machine()}
