"""The models of a merge, and a recipe that is resolved for them."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UNKNOWN_LAYERS = 1 << 16
"""Number of layers of a base that does not exist yet, for checking a recipe ahead of time."""


@dataclass(frozen=True)
class Expert:
    """One model to merge.

    Attributes:
        name: as in `--expert NAME=PATH`.
        path: folder of the adapter or checkpoint, absolute.
        is_adapter: whether the folder holds a PEFT adapter for the base.
        parameters: mergekit's parameters for this expert, for example `weight` and `density`. A value is a number or
            one of mergekit's other forms: a gradient over the layers, or a list of `value` and `filter`.
    """

    name: str
    path: Path
    is_adapter: bool
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def weight(self) -> float | None:
        """The weight if it is a single number for all tensors, else None."""
        value = self.parameters.get("weight")
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def mergekit_reference(self, base: Path) -> str:
        """How mergekit refers to the expert: its folder, or `base+adapter` for an adapter."""
        return f"{base}+{self.path}" if self.is_adapter else str(self.path)


@dataclass(frozen=True)
class MergeModels:
    """The base and the experts of a merge.

    Attributes:
        base: folder of the base model.
        base_name: the base as the user named it: a folder or a hub name.
        layers: number of the base's layers.
        dtype: type of the base's weights.
        experts: in the order of the command line.
    """

    base: Path
    base_name: str
    layers: int
    dtype: str
    experts: tuple[Expert, ...]


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe whose placeholders are all filled in.

    Attributes:
        name: name of the recipe.
        method: mergekit's name of the merge method.
        base: folder of the base model, absolute.
        base_name: the base as the user named it: a folder or a hub name.
        experts: in the order of the command line.
        parameters: mergekit's parameters for all inputs, for example `normalize` and `lambda`.
        config: the complete configuration as mergekit reads it.
        seed: seed for methods that draw at random.
    """

    name: str
    method: str
    base: Path
    base_name: str
    experts: tuple[Expert, ...]
    parameters: dict[str, Any]
    config: dict[str, Any]
    seed: int = 0

    @property
    def dtype(self) -> str:
        """Type of the merged weights: `bfloat16`, `float16` or `float32`."""
        return str(self.config["out_dtype"])

    def tensor_seed(self, tensor: str) -> int:
        """The random seed for one tensor; it does not depend on the order or number of tensors."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {tensor}".encode()).digest()[:7], "big")
