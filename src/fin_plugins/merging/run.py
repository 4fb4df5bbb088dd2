"""A merge as it is asked for: read, checked, merged, written down."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import Problems
from fin_plugins.merging.inputs.read import Inputs, read_inputs
from fin_plugins.merging.inputs.resources import check_resources
from fin_plugins.merging.model import Filled
from fin_plugins.merging.output import check_out, clear_merges, written_whole
from fin_plugins.merging.progress import shown
from fin_plugins.merging.recipes.fill import fill, read_recipe
from fin_plugins.merging.recipes.settings import read_settings


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for; each as its flag there."""

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
class Prepared:
    """Checked inputs, and the recipe filled in for them."""

    inputs: Inputs
    filled: Filled


def prepare(asked: Asked) -> Prepared:
    """Read and check everything; no weight is loaded.

    Raises:
        FinError: all that is wrong with the models, or with the recipe and its settings.
    """
    _check_installed()
    recipe = read_recipe(asked.recipe)
    inputs = read_inputs(asked.base, asked.experts, any_base=asked.any_base)
    names = [expert.name for expert in inputs.models.experts]
    settings, wrong = read_settings(asked.sets, asked.weights, names)
    try:
        filled = fill(recipe, inputs.models, settings, dtype=asked.dtype, seed=asked.seed)
    except Problems as error:
        raise Problems([*wrong, *error.problems]) from error
    if wrong:
        raise Problems(wrong)
    return Prepared(inputs, filled)


def merge(asked: Asked, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Merge.

    Args:
        asked: what.
        out: the result's folder.
        force: replace it if it is there.

    Returns:
        The record, as it stands in `merge.json`.

    Raises:
        FinError: something is wrong; nothing is at `out` then that was not there before.
    """
    clear_merges(out.parent)
    check_out(out, force=force)
    _check_device(asked.device)
    prepared = prepare(asked)
    if not asked.as_adapter:
        _check_room(prepared, out)
    from fin_plugins.merging.card import write_card
    from fin_plugins.merging.recorded import hashes, record, write_record, write_trained_rows

    hashed = hashes(prepared.filled)
    with written_whole(out) as folder:
        result = (_adapter if asked.as_adapter else _checkpoint)(asked, prepared, folder)
        content = record(prepared.filled, hashed, result)
        write_card(content, prepared.filled, folder)
        write_record(content, folder)
        write_trained_rows(prepared.filled, folder)
    return content


def _check_room(prepared: Prepared, out: Path) -> None:
    from fin_plugins.merging.checkpoint.whole import is_for_peft

    inputs, experts = prepared.inputs, prepared.filled.experts
    by_peft = sum(map(is_for_peft, experts))
    check_resources(inputs.base, inputs.largest_changed, len(experts), prepared.filled.dtype, out, by_peft)


def _check_installed() -> None:
    missing = [name for name in ("mergekit", "peft") if importlib.util.find_spec(name) is None]
    if missing:
        raise FinError(f'{" and ".join(missing)}: not installed: `pip install "fin-plugins[merge]"`')


def _check_device(device: str) -> None:
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise FinError("--device cuda: no GPU can be used here: leave it out")


def _checkpoint(asked: Asked, prepared: Prepared, folder: Path) -> Mapping[str, Any]:
    from fin_plugins.merging.checkpoint.error import MAX_ROUNDING
    from fin_plugins.merging.checkpoint.run import merge_as_checkpoint
    from fin_plugins.merging.recorded import of_checkpoint

    with shown("tensors") as progress:
        written = merge_as_checkpoint(
            prepared.filled,
            prepared.inputs.base,
            folder,
            device=asked.device,
            max_rounding=MAX_ROUNDING if asked.max_rounding is None else asked.max_rounding,
            progress=progress,
        )
    return of_checkpoint(written)


def _adapter(asked: Asked, prepared: Prepared, folder: Path) -> Mapping[str, Any]:
    import time

    from fin_plugins.merging.adapters.measure import MAX_RESIDUAL
    from fin_plugins.merging.adapters.merge import merge_as_adapter
    from fin_plugins.merging.recorded import of_adapter

    start = time.monotonic()
    with shown("modules") as progress:
        merged = merge_as_adapter(
            prepared.filled,
            folder,
            rank=asked.rank,
            max_residual=MAX_RESIDUAL if asked.max_residual is None else asked.max_residual,
            dtype=asked.dtype or "float32",
            device=asked.device,
            progress=progress,
        )
    return of_adapter(merged, time.monotonic() - start)
