"""A merge from request to result: inputs and recipe are checked, merged, and written to a folder atomically."""

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import remove_unfinished_folders, unfinished_folder
from fin_plugins.common.errors import FinError
from fin_plugins.common.file_lock import Locked
from fin_plugins.common.progress import progress
from fin_plugins.common.yaml_file import Problems
from fin_plugins.merging.merge_error import MAX_RESIDUAL, MAX_ROUNDING
from fin_plugins.merging.merge_inputs import MergeInputs, check_resources, read_merge_inputs
from fin_plugins.merging.peft_merge import needs_peft
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe
from fin_plugins.merging.recipes.recipe_resolution import read_recipe, read_settings, resolve_recipe

METADATA = "merge.json"
"""File beside a merged model that records how it was made."""


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """The options of `fin merge`, named like its flags."""

    recipe: str
    base: str
    experts: tuple[str, ...]
    weights: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    dtype: str | None = None
    seed: int = 0
    device: str = "cpu"
    any_base: bool = False
    as_adapter: bool = False
    rank: int | None = None
    max_residual: float | None = None
    max_rounding: float | None = None


@dataclass(frozen=True)
class PreparedMerge:
    """Checked inputs, and the recipe resolved for them."""

    inputs: MergeInputs
    recipe: ResolvedRecipe


def prepare_merge(request: MergeRequest) -> PreparedMerge:
    """Read and check everything without loading weights.

    Raises:
        FinError: everything that is wrong with the models, or with the recipe and its settings.
    """
    _check_installed()
    recipe = read_recipe(request.recipe)
    inputs = read_merge_inputs(request.base, request.experts, any_base=request.any_base)
    names = [expert.name for expert in inputs.models.experts]
    settings, problems = read_settings(request.sets, request.weights, names)
    try:
        resolved = resolve_recipe(recipe, inputs.models, settings, dtype=request.dtype, seed=request.seed)
    except Problems as error:
        raise Problems([*problems, *error.problems]) from error
    if problems:
        raise Problems(problems)
    return PreparedMerge(inputs, resolved)


def run_merge(request: MergeRequest, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Merge and write the result.

    Args:
        request: what to merge, and how.
        out: folder of the result.
        force: replace the folder if it exists.

    Returns:
        The content of `merge.json`.

    Raises:
        FinError: the merge failed; `out` is unchanged.
    """
    clear_unfinished_merges(out.parent)
    if out.is_file() or out.is_symlink():
        raise FinError(f"--out {out}: is a file or a link: name a folder")
    if out.is_dir() and not force and any(out.iterdir()):
        raise FinError(f"--out {out}: already exists: name another folder, or pass --force to replace it")
    _check_device(request.device)
    prepared = prepare_merge(request)
    inputs, recipe = prepared.inputs, prepared.recipe
    if not request.as_adapter:
        peft_experts = sum(map(needs_peft, recipe.experts))
        check_resources(inputs.base, inputs.largest_changed, len(recipe.experts), recipe.dtype, out, peft_experts)
    from fin_plugins.merging.merge_metadata import build_metadata, hash_inputs, write_metadata, write_trained_rows
    from fin_plugins.merging.merge_report import write_model_card

    hashes = hash_inputs(recipe)
    with output_folder(out) as folder:
        result = (_merge_adapter if request.as_adapter else _merge_checkpoint)(request, prepared, folder)
        metadata = build_metadata(recipe, hashes, result)
        write_model_card(metadata, recipe.base_name, folder)
        write_metadata(metadata, folder / METADATA)
        write_trained_rows(recipe, folder)
    return metadata


def _check_installed() -> None:
    missing = [name for name in ("mergekit", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        raise FinError(f'{" and ".join(missing)}: not installed: `pip install "fin-plugins[merge]"`')


def _check_device(device: str) -> None:
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise FinError("--device cuda: no GPU is available: leave the option out")


def _merge_checkpoint(request: MergeRequest, prepared: PreparedMerge, folder: Path) -> dict[str, Any]:
    from fin_plugins.merging.checkpoint_merge import merge_as_checkpoint
    from fin_plugins.merging.merge_metadata import checkpoint_metadata

    with progress("tensors") as counter:
        merge = merge_as_checkpoint(
            prepared.recipe,
            prepared.inputs.base,
            folder,
            device=request.device,
            max_rounding=MAX_ROUNDING if request.max_rounding is None else request.max_rounding,
            progress=counter.update,
        )
    return checkpoint_metadata(merge)


def _merge_adapter(request: MergeRequest, prepared: PreparedMerge, folder: Path) -> dict[str, Any]:
    from fin_plugins.merging.adapter_merge import merge_as_adapter
    from fin_plugins.merging.merge_metadata import adapter_metadata

    start = time.monotonic()
    with progress("modules") as counter:
        merge = merge_as_adapter(
            prepared.recipe,
            folder,
            rank=request.rank,
            max_residual=MAX_RESIDUAL if request.max_residual is None else request.max_residual,
            dtype=request.dtype or "float32",
            device=request.device,
            progress=counter.update,
        )
    return adapter_metadata(merge, time.monotonic() - start)


def clear_unfinished_merges(parent: Path) -> None:
    """Remove what killed merges left in a folder, and restore results that they were about to replace."""
    remove_unfinished_folders(parent, METADATA)


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Write the folder of a merge atomically; an existing folder is replaced at the end.

    Args:
        out: folder of the result.

    Yields:
        An empty folder beside it to write to.

    Raises:
        FinError: the folder cannot be written, or another process is writing it.
    """
    try:
        with unfinished_folder(out) as unfinished:
            yield unfinished
    except Locked as error:
        raise FinError(f"--out {out}: another merge is writing there: wait for it, or name another folder") from error
    except OSError as error:
        raise FinError(f"--out {out}: cannot be written ({error.strerror or error}): free some space") from error
