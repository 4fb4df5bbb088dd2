"""A recipe with everything filled in: what is merged into what, and how."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Expert:
    """One model that goes into the merge.

    Attributes:
        name: as given on the command line, `--expert NAME=PATH`.
        path: folder of the adapter or checkpoint, absolute.
        is_adapter: whether the folder holds a PEFT adapter for the base.
        parameters: mergekit's parameters of this expert alone, as `weight` and `density`; empty where the recipe
            names none. A value is a number, or what mergekit takes in its place (a gradient, a list of filters).
    """

    name: str
    path: Path
    is_adapter: bool
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def weight(self) -> float | None:
        """Its weight, where that is one number for all tensors; None where there is none, or more than one."""
        value = self.parameters.get("weight")
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Filled:
    """A recipe, filled in.

    Attributes:
        recipe: the recipe's name.
        method: mergekit's name of the method, its `merge_method`.
        base: folder of the base model, absolute.
        base_name: the base as the user named it, a folder or hub name.
        experts: in the order of the command line.
        parameters: mergekit's parameters for all inputs, as `normalize` and `lambda`.
        config: the whole as mergekit reads it; an adapter is `base+adapter`.
        seed: for the methods that draw at random.
    """

    recipe: str
    method: str
    base: Path
    base_name: str
    experts: tuple[Expert, ...]
    parameters: dict[str, Any]
    config: dict[str, Any]
    seed: int = 0

    @property
    def dtype(self) -> str:
        """The type of the result's weights, `bfloat16`, `float16` or `float32`."""
        return str(self.config["out_dtype"])

    def seed_of(self, tensor: str) -> int:
        """What to draw one tensor's random numbers from, so that neither order nor other tensors matter."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {tensor}".encode()).digest()[:7], "big")
