"""What a run is made of: models, and the settings that their answers depend on."""

from dataclasses import dataclass, field
from typing import Any

from fin_plugins.scoring.adapters import Adapter


@dataclass(frozen=True)
class Model:
    """One of the models that share an engine: the base alone, or with an adapter.

    Attributes:
        name: `base`, or the adapter's name.
        adapter: None for the base alone.
        arguments: the model arguments as lm-eval records them.
        made_with: the ingredients of its answers, of `identity.ingredients`.
    """

    name: str
    adapter: Adapter | None
    arguments: dict[str, Any]
    made_with: dict[str, Any]


@dataclass
class Progress:
    """Counts units over all models."""

    total: int
    done: int = 0


@dataclass(frozen=True)
class Settings:
    """What answers depend on beside model and prompt.

    Attributes:
        prune: labels that cannot win are not scored to the end.
        seeds: lm-eval's seeds, for generation.
    """

    prune: bool = False
    seeds: tuple[int | None, ...] = field(default_factory=tuple)

    def of(self, kind: str) -> dict[str, Any]:
        """Those that matter for a request type."""
        if kind == "generate_until":
            return {"seeds": list(self.seeds)}
        return {"prune": self.prune and kind == "loglikelihood"}
