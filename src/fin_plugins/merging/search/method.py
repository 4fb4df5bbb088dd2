"""The recipe of a search: a weighted sum, whose weights are what is looked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.merging.adapters.linear import weights as effective
from fin_plugins.merging.adapters.plan import BASE, Step
from fin_plugins.merging.model import Filled
from fin_plugins.merging.recipes.expand import Models
from fin_plugins.merging.recipes.fill import Recipe, fill, read_recipe
from fin_plugins.merging.recipes.settings import Setting
from fin_plugins.merging.search.config import SearchConfig

_METHODS = ("task_arithmetic", "linear")


@dataclass(frozen=True)
class Method:
    """A linear recipe for these experts.

    Attributes:
        recipe: as read.
        models: base and experts.
        name: mergekit's name of the method.
        shared: its parameters, as `lambda`.
    """

    recipe: Recipe
    models: Models
    name: str
    shared: Mapping[str, Any]

    def filled(self, weights: Mapping[str, float]) -> Filled:
        """The recipe with these weights of all experts."""
        settings = [Setting("", name, "weight", value) for name, value in weights.items()]
        return fill(self.recipe, self.models, settings)

    def factors(self, weights: Mapping[str, float]) -> dict[str, float]:
        """What each expert's change counts for in the sum; an expert that is not named is not part of the merge."""
        names = [expert.name for expert in self.models.experts]
        given = {name: weights[name] for name in names if name in weights}
        base = BASE if self.name == "task_arithmetic" else None
        counted = effective(Step("merge", self.name, tuple(given), base, self.shared, {"weight": given}))
        return {name: counted.get(name, 0.0) for name in names}


def read_method(config: SearchConfig, models: Models) -> Method:
    """Read the recipe that a search is about.

    Raises:
        FinError: it is not linear, or its weights are not one number for each expert.
        Problems: all that is wrong with it.
    """
    recipe = read_recipe(config.recipe)
    filled = fill(recipe, models)
    if filled.method not in _METHODS or "slices" in filled.config:
        raise FinError(
            f"recipe: {config.recipe}: {filled.method} is not a weighted sum of whole experts, so that each candidate "
            f"would have to be merged anew: search with {' or '.join(_METHODS)}"
        )
    shared = {**_defaults(filled.method), **filled.parameters}
    for name, value in shared.items():
        if not isinstance(value, int | float):
            raise FinError(
                f"recipe: {config.recipe}: {name} is {value}: one number for all layers can be searched with"
            )
    if shared["normalize"] and (low := [name for name, each in config.ranges().items() if each.low <= 0]):
        raise FinError(
            f"weights: {config.recipe} divides weights by their sum: for {', '.join(low)} set low above 0, or use "
            "task_arithmetic"
        )
    return Method(recipe, models, filled.method, shared)


def _defaults(method: str) -> dict[str, Any]:
    from fin_plugins.compat.mergekit import methods

    spec = methods()[method].spec
    return {one.name: one.default for one in spec.parameters if one.scope.value == "shared"}
