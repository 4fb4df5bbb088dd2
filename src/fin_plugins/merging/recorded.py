"""What is written down about a merge: `merge.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.data.trained_rows import FILE as TRAINED_ROWS
from fin_plugins.data.trained_rows import known_rows, trained_rows_text
from fin_plugins.merging.adapters.measure import AdapterMerge
from fin_plugins.merging.checkpoint.run import Written
from fin_plugins.merging.model import Expert, Filled
from fin_plugins.training.report.machine import command_line, commit, hardware, peak_memory, versions

FILE = "merge.json"
SCHEMA = 1


@dataclass(frozen=True)
class Hashes:
    """Hashes of all that goes in: the files of the base, and those of each expert by its name."""

    base: Mapping[str, str]
    experts: Mapping[str, Mapping[str, str]]


def hashes(filled: Filled) -> Hashes:
    """Hash all inputs; large files are read once and remembered.

    Raises:
        FinError: a file cannot be read.
    """
    experts = {expert.name: hash_files(_files(expert), expert.path) for expert in filled.experts}
    return Hashes(hash_files(model_files(filled.base), filled.base), experts)


def _files(expert: Expert) -> list[Path]:
    if not expert.is_adapter:
        return model_files(expert.path)
    return [file for file in model_files(expert.path) if file.name.startswith(("adapter_", "new_embeddings"))]


def record(filled: Filled, hashed: Hashes, result: Mapping[str, Any]) -> dict[str, Any]:
    """A merge as plain data.

    Args:
        filled: the recipe, filled in.
        hashed: the inputs' hashes.
        result: what came out, as `of_checkpoint` has it.
    """
    return {
        "schema": SCHEMA,
        "recipe": filled.recipe,
        "method": filled.method,
        "seed": filled.seed,
        "dtype": filled.dtype,
        "base": {"name": filled.base_name, "hash": digest(hashed.base), "files": dict(hashed.base)},
        "experts": [_expert(expert, hashed.experts[expert.name]) for expert in filled.experts],
        "config": without_paths(filled),
        **result,
        "peak_memory_bytes": peak_memory(),
        "versions": {**versions(), "mergekit": version("mergekit")},
        "hardware": hardware(),
        "commit": commit(),
        "command_line": command_line(),
    }


def without_paths(filled: Filled) -> dict[str, Any]:
    """The filled-in recipe with models by their names: what is passed on tells nothing of the machine."""
    names = {str(expert.path): expert.name for expert in filled.experts} | {str(filled.base): "BASE"}
    named: dict[str, Any] = _replaced(filled.config, names)
    return named


def of_checkpoint(written: Written) -> dict[str, Any]:
    """What came out, as a checkpoint."""
    return {
        "result": "checkpoint",
        "tensors": written.tensors,
        "bytes": written.bytes,
        "untied": written.untied,
        "held_by_adapter": written.held_by_adapter,
        "size_of_change": written.error.size_of_change(),
        "error_of_change": {"overall": written.error.overall(), "groups": written.error.by_group()},
        "seconds": round(written.seconds, 2),
    }


def of_adapter(merged: AdapterMerge, seconds: float) -> dict[str, Any]:
    """What came out, as an adapter."""
    return {
        "result": "adapter",
        "dtype": merged.dtype,
        "exact": merged.linear,
        "rank": merged.rank,
        "engine_rank": merged.engine_rank,
        "residual": merged.residual,
        "rounding": merged.rounding,
        "layers": [asdict(layer) for layer in merged.layers],
        "seconds": round(seconds, 2),
    }


def write_record(content: Mapping[str, Any], folder: Path) -> None:
    """Write `merge.json`."""
    (folder / FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_trained_rows(filled: Filled, folder: Path) -> None:
    """Write down which rows the result was trained on, as far as its experts' folders, or its base's, say so.

    What is said of the base of an adapter stays with the base.
    """
    kept = (folder / "config.json").is_file()
    if rows := known_rows(*(expert.path for expert in filled.experts), *([filled.base] if kept else [])):
        (folder / TRAINED_ROWS).write_text(trained_rows_text(rows), encoding="ascii")


def _expert(expert: Expert, files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": expert.name,
        "kind": "adapter" if expert.is_adapter else "checkpoint",
        "parameters": expert.parameters,
        "hash": digest(dict(files)),
        "files": dict(files),
    }


def _replaced(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(below, names) for key, below in value.items()}
    if isinstance(value, list):
        return [_replaced(below, names) for below in value]
    if not isinstance(value, str) or not any(part in names for part in value.split("+")):
        return value
    return "+".join(names.get(part, part) for part in value.split("+"))
