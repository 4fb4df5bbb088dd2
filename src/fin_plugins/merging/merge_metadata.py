"""`merge.json`, the record beside a merged model: recipe, hashes of all inputs, errors, versions, machine."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.data.text_hashes import TRAINED_ROWS_FILE as TRAINED_ROWS
from fin_plugins.data.text_hashes import format_trained_rows, read_trained_rows
from fin_plugins.merging.adapter_merge import AdapterMerge
from fin_plugins.merging.checkpoint_merge import CheckpointMerge
from fin_plugins.merging.recipes.recipe_model import Expert, ResolvedRecipe
from fin_plugins.training.machine import command_line, commit, hardware, peak_memory, versions

SCHEMA = 1


@dataclass(frozen=True)
class InputHashes:
    """Hashes of the files of the base, and of each expert by name."""

    base: Mapping[str, str]
    experts: Mapping[str, Mapping[str, str]]


def hash_inputs(recipe: ResolvedRecipe) -> InputHashes:
    """Hash all input files; hashes of large files are remembered.

    Raises:
        FinError: a file cannot be read.
    """
    experts = {expert.name: hash_files(_model_files(expert), expert.path) for expert in recipe.experts}
    return InputHashes(hash_files(model_files(recipe.base), recipe.base), experts)


def _model_files(expert: Expert) -> list[Path]:
    files = model_files(expert.path)
    if not expert.is_adapter:
        return files
    return [file for file in files if file.name.startswith(("adapter_", "new_embeddings"))]


def build_metadata(recipe: ResolvedRecipe, hashes: InputHashes, result: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `merge.json`; `result` is from `checkpoint_metadata` or `adapter_metadata`."""
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "method": recipe.method,
        "seed": recipe.seed,
        "dtype": recipe.dtype,
        "base": {"name": recipe.base_name, "hash": digest(hashes.base), "files": dict(hashes.base)},
        "experts": [_expert_metadata(expert, hashes.experts[expert.name]) for expert in recipe.experts],
        "config": config_without_paths(recipe),
        **result,
        "peak_memory_bytes": peak_memory(),
        "versions": {**versions(), "mergekit": version("mergekit")},
        "hardware": hardware(),
        "commit": commit(),
        "command_line": command_line(),
    }


def _expert_metadata(expert: Expert, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": expert.name,
        "kind": "adapter" if expert.is_adapter else "checkpoint",
        "parameters": expert.parameters,
        "hash": digest(dict(files)),
        "files": dict(files),
    }


def config_without_paths(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Mergekit's configuration with names instead of paths, so that published files reveal nothing of the machine."""
    names = {str(expert.path): expert.name for expert in recipe.experts} | {str(recipe.base): "BASE"}
    config: dict[str, Any] = _replace_paths(recipe.config, names)
    return config


def _replace_paths(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replace_paths(child, names) for key, child in value.items()}
    if isinstance(value, list):
        return [_replace_paths(child, names) for child in value]
    if not isinstance(value, str) or not any(part in names for part in value.split("+")):
        return value
    return "+".join(names.get(part, part) for part in value.split("+"))


def checkpoint_metadata(merge: CheckpointMerge) -> dict[str, Any]:
    """The part of `merge.json` about a merged checkpoint."""
    return {
        "result": "checkpoint",
        "tensors": merge.tensors,
        "bytes": merge.bytes,
        "untied": merge.untied,
        "held_by_adapter": merge.adapter_is_exact,
        "size_of_change": merge.error.size_of_change(),
        "error_of_change": {"overall": merge.error.overall(), "groups": merge.error.by_group()},
        "seconds": round(merge.seconds, 2),
    }


def adapter_metadata(merge: AdapterMerge, seconds: float) -> dict[str, Any]:
    """The part of `merge.json` about a merged adapter."""
    return {
        "result": "adapter",
        "dtype": merge.dtype,
        "exact": merge.linear,
        "rank": merge.rank,
        "engine_rank": merge.engine_rank,
        "residual": merge.residual,
        "rounding": merge.rounding,
        "layers": [asdict(module) for module in merge.modules],
        "seconds": round(seconds, 2),
    }


def write_metadata(metadata: Mapping[str, Any], file: Path) -> None:
    """Write `merge.json`."""
    file.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_trained_rows(recipe: ResolvedRecipe, folder: Path) -> None:
    """Record the rows that the result was trained on: those recorded for its experts and, in a checkpoint, its base.

    The rows of an adapter's base stay recorded with the base.
    """
    is_checkpoint = (folder / "config.json").is_file()
    if rows := read_trained_rows(
        *(expert.path for expert in recipe.experts), *([recipe.base] if is_checkpoint else [])
    ):
        (folder / TRAINED_ROWS).write_text(format_trained_rows(rows), encoding="ascii")
