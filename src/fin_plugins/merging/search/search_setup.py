"""What a search needs besides an engine, checked before one starts: linear recipe, experts, rows, study header."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest, hash_files
from fin_plugins.merging.merge_plan import BASE, TensorStep, expert_coefficients
from fin_plugins.merging.recipes.recipe_model import MergeModels, ResolvedRecipe
from fin_plugins.merging.recipes.recipe_resolution import Recipe, Setting, read_recipe, resolve_recipe
from fin_plugins.merging.search.samplers import propose_weights
from fin_plugins.merging.search.search_config import SearchConfig
from fin_plugins.merging.search.search_rows import SearchRows, read_search_rows
from fin_plugins.merging.search.stacked_adapters import StackedAdapters, scratch_folder, stack_adapters
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS

_SEARCHABLE = ("task_arithmetic", "linear")
# Keys that change no score: how far the search goes, and where files are (their content counts instead).
_NOT_IN_HEADER: Mapping[str, Any] = {
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
class LinearRecipe:
    """A recipe whose merge is a weighted sum, with one weight per expert to search for.

    Attributes:
        recipe: the recipe as read.
        models: base and experts.
        method: mergekit's name of the merge method.
        parameters: parameters of the method, for example `lambda`.
    """

    recipe: Recipe
    models: MergeModels
    method: str
    parameters: Mapping[str, Any]

    def resolve(self, weights: Mapping[str, float]) -> ResolvedRecipe:
        """The recipe with these weights for all experts."""
        settings = [Setting("", name, "weight", value) for name, value in weights.items()]
        return resolve_recipe(self.recipe, self.models, settings)

    def coefficients(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The coefficient of each expert's change in the sum; experts without a weight are not part of the merge."""
        names = [expert.name for expert in self.models.experts]
        given = {name: weights[name] for name in names if name in weights}
        base = BASE if self.method == "task_arithmetic" else None
        step = TensorStep("merge", self.method, tuple(given), base, self.parameters, {"weight": given})
        coefficients = expert_coefficients(step)
        return {name: coefficients.get(name, 0.0) for name in names}


def read_linear_recipe(config: SearchConfig, models: MergeModels) -> LinearRecipe:
    """Read the recipe of a search.

    Raises:
        FinError: the recipe is not linear, or its weights are not one number per expert.
        Problems: everything that is wrong with the recipe.
    """
    from fin_plugins.compat.mergekit import methods

    recipe = read_recipe(config.recipe)
    resolved = resolve_recipe(recipe, models)
    if resolved.method not in _SEARCHABLE or "slices" in resolved.config:
        raise FinError(
            f"recipe: {config.recipe}: {resolved.method} is not a weighted sum of whole experts, so every candidate "
            f"would need its own merge: search with {' or '.join(_SEARCHABLE)}"
        )
    defaults = methods()[resolved.method].spec.parameters
    parameters = {it.name: it.default for it in defaults if it.scope.value == "shared"} | resolved.parameters
    for name, value in parameters.items():
        if not isinstance(value, int | float):
            raise FinError(f"recipe: {config.recipe}: {name} is {value}: a search needs one number for all layers")
    zero = [name for name, weight_range in config.ranges().items() if weight_range.low <= 0]
    if parameters["normalize"] and zero:
        raise FinError(
            f"weights: {config.recipe} divides weights by their sum: for {', '.join(zero)} set low above 0, or use "
            "task_arithmetic"
        )
    return LinearRecipe(recipe, models, resolved.method, parameters)


@dataclass(frozen=True)
class PreparedSearch:
    """What a search needs besides an engine.

    Attributes:
        recipe: the recipe, with its experts.
        adapters: the experts' factors.
        rows: validation rows and unlabelled prompts.
        header: everything that the scores depend on, by content.
    """

    recipe: LinearRecipe
    adapters: StackedAdapters
    rows: SearchRows
    header: dict[str, Any]


def prepare_search(config: SearchConfig) -> PreparedSearch:
    """Read and check base, experts, recipe and rows.

    Raises:
        FinError: everything that is wrong with the models, or with the recipe, or with a task.
    """
    from fin_plugins.merging.adapter_merge import merge_as_adapter
    from fin_plugins.merging.merge_inputs import read_merge_inputs

    next(propose_weights(config))  # fails here if the sampler is not installed
    flags = [f"{name}={expert.path}" for name, expert in config.experts.items()]
    models = read_merge_inputs(config.base, flags, any_base=config.any_base).models
    recipe = read_linear_recipe(config, models)
    adapters = stack_adapters(models)
    rows = read_search_rows(config, models.base)
    # One merge now, so that nothing prevents writing the best one after hours of scoring.
    trial = recipe.resolve({name: each.high or each.low for name, each in config.ranges().items()})
    with scratch_folder(adapters.candidate_bytes) as scratch:
        merge_as_adapter(trial, scratch / "trial")
    return PreparedSearch(recipe, adapters, rows, _study_header(config, recipe, rows))


def _study_header(config: SearchConfig, recipe: LinearRecipe, rows: SearchRows) -> dict[str, Any]:
    from fin_plugins.evaluation.cache_key import engine_device, key_inputs

    arguments = {**config.model_args, "pretrained": str(recipe.models.base)}
    batch = {"batch_size": config.batch_size}
    engine = key_inputs(config.model, arguments, None, batch, engine_device(config.model, config.device))
    return {
        "config": config.model_dump(mode="json", exclude=dict(_NOT_IN_HEADER)),
        "recipe": digest(recipe.recipe.file.data),
        "experts": {expert.name: _hash_adapter(expert.path) for expert in recipe.models.experts},
        "rows": rows.hashes(),
        "model": {**engine, "searching": _sampler_versions(config)},
    }


def _hash_adapter(folder: Path) -> dict[str, str]:
    return hash_files([folder / CONFIG, folder / WEIGHTS], folder)


def _sampler_versions(config: SearchConfig) -> dict[str, str]:
    versions = {}
    for name in ("numpy", *(["cmaes"] if config.sampler == "cma" else [])):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "none"
    return versions
