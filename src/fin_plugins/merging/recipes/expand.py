"""Puts models where a recipe has placeholders for them."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.merging.model import Expert
from fin_plugins.merging.recipes.placeholders import BASE, EXPERT, FIRST, NAMED, SECOND, Placeholder, placeholder

ANY_LAYERS = 1 << 16
"""Stands for the base's number of layers where a recipe is checked before there is a base."""


@dataclass(frozen=True)
class Models:
    """What the command line names.

    Attributes:
        base: folder of the base model.
        base_name: the base as the user named it.
        layers: number of the base's layers.
        dtype: of the base's weights.
        experts: in their order.
    """

    base: Path
    base_name: str
    layers: int
    dtype: str
    experts: tuple[Expert, ...]


def stands_for(place: Placeholder | None, models: Models) -> Sequence[Expert]:
    """The experts that a placeholder stands for; none for the base."""
    if place is None or place.name == BASE:
        return ()
    if place.name == EXPERT:
        return models.experts
    if place.name in (FIRST, SECOND):
        return (models.experts[(FIRST, SECOND).index(place.name)],)
    return tuple(expert for expert in models.experts if expert.name == place.name.removeprefix(NAMED))


def reference(expert: Expert, base: Path) -> str:
    """What mergekit calls an expert: its folder, for an adapter `base+adapter`."""
    return f"{base}+{expert.path}" if expert.is_adapter else str(expert.path)


def with_models(data: dict[str, Any], models: Models, own: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The recipe as mergekit reads it, once an entry for each model.

    Args:
        data: the recipe, its numbers filled in.
        models: what takes the places.
        own: parameters of single experts, by their names.
    """
    config = deepcopy(data)
    for level in (config, *config.get("slices", [])):
        if level.get("base_model") is not None:
            level["base_model"] = _references(level["base_model"], models)[0][1]
        for name in ("models", "sources"):
            if name in level:
                level[name] = [entry for item in level[name] for entry in _entries(item, models, own)]
    return config


def _entries(item: dict[str, Any], models: Models, own: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for name, reference in _references(item["model"], models):
        parameters = {**(item.get("parameters") or {}), **own.get(name, {})}
        rest = {key: deepcopy(value) for key, value in item.items() if key not in ("model", "parameters")}
        yield {"model": reference, **rest, **({"parameters": parameters} if parameters else {})}


def _references(value: str, models: Models) -> list[tuple[str, Any]]:
    """Name and mergekit's reference of each model that a placeholder stands for; the base has no name."""
    experts = stands_for(placeholder(value), models)
    return [(expert.name, reference(expert, models.base)) for expert in experts] or [("", str(models.base))]
