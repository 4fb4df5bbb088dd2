"""Everything that can be made ready, and found wrong, before an engine is started; test rows are out of reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fin_plugins.common.hashing import digest, hash_files
from fin_plugins.evaluation.identity import device_of, ingredients
from fin_plugins.merging.inputs.read import read_inputs
from fin_plugins.merging.search.candidates import Stack, check_writable, read_stack, scratch_folder
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.merging.search.method import Method, read_method
from fin_plugins.merging.search.rows import SearchRows, read_rows
from fin_plugins.merging.search.samplers import proposals
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS

# What changes no score: how far the search goes, where things lie (files count by their content).
_NO_PART: Mapping[str, Any] = {
    "base": True,
    "recipe": True,
    "output": True,
    "otherwise": True,
    "candidates": True,
    "any_base": True,
    "experts": {"__all__": {"path"}},
    "unlabelled": {"instructions"},
}


@dataclass(frozen=True)
class Prepared:
    """What a search needs beside an engine.

    Attributes:
        method: the recipe, with its experts.
        stack: the experts' factors.
        rows: what candidates are asked.
        header: all that the scores depend on, by content.
    """

    method: Method
    stack: Stack
    rows: SearchRows
    header: dict[str, Any]


def prepare(config: SearchConfig) -> Prepared:
    """Read and check base, experts, recipe and rows.

    Raises:
        FinError: all that is wrong with the models, with the recipe, or with a task.
    """
    next(proposals(config))  # a sampler that is not installed says so before anything is written
    flags = [f"{name}={expert.path}" for name, expert in config.experts.items()]
    models = read_inputs(config.base, flags, any_base=config.any_base).models
    method = read_method(config, models)
    stack = read_stack(models)
    rows = read_rows(config, models.base)
    with scratch_folder(stack.room) as scratch:
        check_writable(method.filled({name: each.high or each.low for name, each in config.ranges().items()}), scratch)
    return Prepared(method, stack, rows, _header(config, method, rows))


def _header(config: SearchConfig, method: Method, rows: SearchRows) -> dict[str, Any]:
    batch = {"batch_size": config.batch_size}
    arguments = {**config.model_args, "pretrained": str(method.models.base)}
    device = device_of(config.model, config.device)
    experts = method.models.experts
    return {
        "config": config.model_dump(mode="json", exclude=dict(_NO_PART)),
        "recipe": digest(method.recipe.file.data),
        "experts": {one.name: hash_files([one.path / CONFIG, one.path / WEIGHTS], one.path) for one in experts},
        "rows": rows.hashes(),
        "model": {**ingredients(config.model, arguments, None, batch, device), "searching": _versions(config)},
    }


def _versions(config: SearchConfig) -> dict[str, str]:
    found = {}
    for name in ("numpy", *(["cmaes"] if config.sampler == "cma" else [])):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found
