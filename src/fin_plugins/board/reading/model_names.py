"""Identity and display name of each model: short, readable, without local folders, and never shared by two models.

lm-eval's `model_name` is not enough: an adapter may have its base's there. The model arguments tell them apart.
"""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fin_plugins.board.reading.json_utils import require_object, without_empty
from fin_plugins.common.foreign_files import get_in

MAX_NAME_LENGTH = 60
_BASE_KEYS = ("pretrained", "model", "path", "engine")  # in lm-eval's own order
_ADAPTER_KEYS = ("peft", "lora_local_path", "delta")
# Arguments that change where and how fast a model runs, but not its answers.
_EXECUTION_KEYS = frozenset(
    (
        *("adapter_name", "device", "device_map", "parallelize", "max_memory_per_gpu", "max_cpu_memory"),
        *("offload_folder", "download_dir", "cache_dir", "trust_remote_code", "batch_size", "max_batch_size"),
        *("seed", "tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size"),
        *("gpu_memory_utilization", "cpu_offload", "max_model_len", "max_length", "max_num_seqs"),
        *("max_num_batched_tokens", "enforce_eager", "swap_space", "enable_prefix_caching", "enable_lora"),
        *("max_lora_rank", "max_loras", "logits_cache", "prune", "num_concurrent", "base_url", "api_key"),
        *("max_retries", "timeout", "tokenized_requests", "disable_log_stats", "backend"),
    )
)  # fmt: skip
_DEFAULT_VALUES = frozenset({"auto", "none", "false", "main"})
_HUB_CACHE_PATH = re.compile(r".*[/\\]models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\][^/\\]+", re.DOTALL)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_GENERIC_NAME = re.compile(
    r"checkpoint[-_]?\d*|adapter|final|best|last|merged|model|lora|out|output|snapshot|\d+", re.IGNORECASE
)
_HOME_FOLDERS = frozenset({"home", "users", "root", "", "~", ".", ".."})
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories; Cf contains bidirectional overrides

ModelNames = tuple[str, str | None]
"""Display name of a model and, if it is an adapter, of its base."""


@dataclass(frozen=True)
class ModelIdentity:
    """A model according to its arguments.

    Attributes:
        base: path or hub name of the base; lm-eval's model class if there is none.
        adapter: path or name of the adapter; empty without one.
        adapter_name: name given to the adapter; empty without one.
        variant: other arguments that change the answers, such as (("dtype", "float32"),); sorted.
    """

    base: str
    adapter: str
    adapter_name: str
    variant: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _NamedModel:
    """What makes two runs those of one model: base name, adapter path or chosen name, and variant.

    A chosen name makes models in several places one, though never an adapter and its base. An adapter counts by its
    files, not by the name it was given.
    """

    base: str
    adapter: str
    variant: tuple[tuple[str, str], ...]


class ChosenNames:
    """Display names chosen by the user, which also tells which of them matched no model.

    Args:
        names: names by path, hub name, adapter name or default display name of a model.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {key: clean_name(name) for key, name in names.items()}
        self._used: set[str] = set()

    def find(self, *keys: str) -> str | None:
        """The name for the first key that has one. Paths match with a trailing `/` or a leading `./` as well."""
        for chosen_key, name in self._names.items():
            if any(key and key in (chosen_key, posixpath.normpath(chosen_key)) for key in keys):
                self._used.add(chosen_key)
                return name
        return None

    def contains(self, name: str) -> bool:
        """Whether the user chose this name."""
        return name in self._names.values()

    def unused(self) -> list[str]:
        """Keys that matched no model."""
        return [key for key in self._names if key not in self._used]


def parse_model_args(value: Any) -> dict[str, Any]:
    """Model arguments: a mapping in newer result files, text such as `pretrained=x,dtype=y` in older ones."""
    if isinstance(value, dict):
        return value
    pairs = (part.partition("=") for part in value.split(",")) if isinstance(value, str) else ()
    return {name.strip(): text.strip() for name, _, text in pairs if name.strip()}


def identify_model(engine: str, model_args: Mapping[str, Any], dtype: str = "") -> ModelIdentity:
    """Identify a model.

    Args:
        engine: lm-eval's model class.
        model_args: model arguments.
        dtype: the model's actual dtype, if the result file reports it.
    """
    base_key = next((name for name in _BASE_KEYS if model_args.get(name)), None)
    adapter = next((str(model_args[name]) for name in _ADAPTER_KEYS if model_args.get(name)), "")
    adapter_name = str(model_args.get("adapter_name") or "")
    ignored = {*_EXECUTION_KEYS, *_ADAPTER_KEYS, base_key}
    others = {key: value for key, value in model_args.items() if key not in ignored}
    if base_key and others.get("tokenizer") == model_args[base_key]:
        del others["tokenizer"]
    if dtype:
        others["dtype"] = dtype
    texts = {key: str(value).removeprefix("torch.") for key, value in without_empty(others).items()}
    variant = tuple(sorted((key, text) for key, text in texts.items() if text.lower() not in _DEFAULT_VALUES))
    base = _normalized_path(str(model_args[base_key])) if base_key else engine
    return ModelIdentity(base, _normalized_path(adapter) or adapter_name, adapter_name, variant)


def run_settings(data: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a run that a reader may want to know; paths are cut to their last part."""
    config = require_object(data.get("config"), "`config`")
    model_args = parse_model_args(config.get("model_args"))
    adapter = next((model_args[name] for name in _ADAPTER_KEYS if model_args.get(name)), None)
    torch = re.search(r"PyTorch version: (\S{1,40})", str(data.get("pretty_env_info")))
    gpu = re.search(r"^GPU 0: (.{1,60})$", str(data.get("pretty_env_info")), re.MULTILINE)
    settings = {
        "dtype": config.get("model_dtype") or model_args.get("dtype"),
        "adapter": short_name(str(adapter)) if adapter else None,
        "quantization": short_name(str(model_args.get("quantization") or "")),
        "revision": short_name(str(config.get("model_sha") or model_args.get("revision") or "")),
        "batch_size": config.get("batch_size"),
        "seed": get_in(config, "fewshot_seed"),
        "transformers": data.get("transformers_version"),
        "torch": torch[1] if torch else None,
        "gpu": gpu[1] if gpu else None,
    }
    return {name: str(value).removeprefix("torch.")[:80] for name, value in without_empty(settings).items()}


def short_name(path: str) -> str:
    """The last part of a path, with the folder above it if the last part is generic, such as `checkpoint-500`."""
    cached = _HUB_CACHE_PATH.fullmatch(path)
    if cached:
        return cached[2]
    parts = re.split(r"[/\\]", path.rstrip("/\\"))
    parent = parts[-2] if len(parts) > 1 else ""
    in_home = parent.lower() in _HOME_FOLDERS or parent.startswith("~") or parent.endswith(":")
    parent_is_user = len(parts) > 2 and parts[-3].lower() in {"home", "users"}
    return (
        f"{parent}/{parts[-1]}" if _GENERIC_NAME.fullmatch(parts[-1]) and not (in_home or parent_is_user) else parts[-1]
    )


def clean_name(name: str) -> str:
    """The name on one line, without invisible characters, and cut with a hash if it is too long."""
    visible = "".join(" " if char.isspace() else char for char in name)
    visible = "".join(char for char in visible if unicodedata.category(char) not in _INVISIBLE)
    visible = " ".join(visible.split()) or f"unnamed {_hash(name)}"
    return visible if len(visible) <= MAX_NAME_LENGTH else f"{visible[: MAX_NAME_LENGTH - 8]}…~{_hash(name)}"


def name_problems(model: ModelIdentity | ModelNames) -> list[str]:
    """A message for each name that cannot be shown as it is."""
    if isinstance(model, ModelIdentity):
        model = short_name(model.base), model.adapter_name or short_name(model.adapter)
    return [
        f"the model name has {len(name)} characters or invisible ones: it is shown as {clean_name(name)}"
        for name in model
        if name and clean_name(name) != name
    ]


def name_models(models: Sequence[ModelIdentity | ModelNames], chosen: ChosenNames) -> list[ModelNames]:
    """Display names of each run's model and its base.

    Two runs share a name only if they are of the same model: same base, adapter and variant. Models in several places
    that have the same chosen name are one model.

    Args:
        models: one per run; an exported run has the names that it was given then.
        chosen: the user's names.
    """
    identities = {model for model in models if isinstance(model, ModelIdentity)}
    names = _name_identities(sorted(identities, key=str), chosen)
    return [names[model] if isinstance(model, ModelIdentity) else _rename(model, chosen) for model in models]


def _rename(names: ModelNames, chosen: ChosenNames) -> ModelNames:
    model, base = names
    return chosen.find(model) or clean_name(model), (chosen.find(base) or clean_name(base)) if base else None


def _name_identities(models: Sequence[ModelIdentity], chosen: ChosenNames) -> dict[ModelIdentity, ModelNames]:
    bases = _base_names({model.base for model in models}, chosen)
    named: dict[ModelIdentity, _NamedModel] = {}
    names: dict[_NamedModel, str] = {}
    for model in sorted(models, key=lambda model: not model.adapter_name):  # an adapter's given name beats its folder's
        base = bases[model.base]
        name = _adapter_name(model, base, chosen)
        adapter = f"chosen: {name}" if name is not None and chosen.contains(name) else model.adapter
        named[model] = _NamedModel(base, adapter, model.variant)
        names.setdefault(named[model], name or base)
    unique = _make_unique(names)
    return {model: (unique[named[model]], bases[model.base] if model.adapter else None) for model in models}


def _adapter_name(model: ModelIdentity, base: str, chosen: ChosenNames) -> str | None:
    if not model.adapter:
        return None
    default = f"{clean_name(model.adapter_name or short_name(model.adapter))} (on {base})"
    return chosen.find(default, model.adapter, model.adapter_name) or default


def _base_names(paths: set[str], chosen: ChosenNames) -> dict[str, str]:
    """A name for each base: its last part; if two share that, the hub name or a hash of the path is added."""
    chosen_names = {path: chosen.find(path, short_name(path)) for path in paths}
    short_names = {path: clean_name(short_name(path)) for path in paths if not chosen_names[path]}
    counts = Counter([*short_names.values(), *(name for name in set(chosen_names.values()) if name)])
    return {
        path: name or (short_names[path] if counts[short_names[path]] == 1 else _long_name(path))
        for path, name in chosen_names.items()
    }


def _long_name(path: str) -> str:
    is_hub_name = bool(_HUB_NAME.fullmatch(path)) and not path.startswith((".", "~"))
    return clean_name(path) if is_hub_name else f"{clean_name(short_name(path))}~{_hash(path)}"


def _make_unique(names: dict[_NamedModel, str]) -> dict[_NamedModel, str]:
    """Append to equal names the arguments in which the models differ, or else a hash."""
    for suffixes_of in (_variant_suffixes, _adapter_suffixes, _hash_suffixes):
        groups: dict[str, list[_NamedModel]] = {}
        for model, name in names.items():
            groups.setdefault(name, []).append(model)
        suffixes = {name: suffixes_of(group) if len(group) > 1 else ("",) for name, group in groups.items()}
        names = {
            model: name + suffix
            for name, group in groups.items()
            for model, suffix in zip(group, suffixes[name], strict=True)
        }
    return names


def _variant_suffixes(group: Sequence[_NamedModel]) -> Iterable[str]:
    common = set.intersection(*(set(model.variant) for model in group))
    for model in group:
        words = [clean_name(f"{key} {short_name(value)}") for key, value in model.variant if (key, value) not in common]
        yield f" [{', '.join(words)}]" if words else ""


def _adapter_suffixes(group: Sequence[_NamedModel]) -> Iterable[str]:
    share_adapter = len({model.adapter for model in group}) == 1
    return ["" if share_adapter else f"~{_hash(model.adapter)}" for model in group]


def _hash_suffixes(group: Sequence[_NamedModel]) -> Iterable[str]:
    # The text is hashed, and the hash is part of published names: it must not change with the names in this module.
    return [
        f"~{_hash(f'_Model(base={model.base!r}, adapter={model.adapter!r}, variant={model.variant!r})')}"
        for model in group
    ]


def _normalized_path(path: str) -> str:
    return posixpath.normpath(path) if path else ""


def _hash(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()[:6]
