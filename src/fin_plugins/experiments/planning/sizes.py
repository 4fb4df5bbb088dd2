"""How large a model is, from the headers of its weight files; no weight is loaded."""

import math
from dataclasses import dataclass
from pathlib import Path

_FLOAT = 4  # bytes of a number in an adapter, which is written in float32
_NO_LINEAR = ("embed", "lm_head", "wte", "wpe")


@dataclass(frozen=True)
class Size:
    """A model's size; zeros where it is not on this machine.

    Attributes:
        parameters: how many numbers it has.
        bytes: of its weight files.
        linear: rows and columns, added, of all matrices that an adapter changes by default.
    """

    parameters: int = 0
    bytes: int = 0
    linear: int = 0

    def adapter(self, rank: int) -> int:
        """Bytes of an adapter of this rank."""
        return rank * self.linear * _FLOAT


def size_of(model: str) -> Size:
    """The size of a model in a folder."""
    from fin_plugins.evaluation.base_match import header_shapes

    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    shapes = {name: shape for file in files for name, shape in header_shapes(file).items()}
    linear = (
        sum(shape) for name, shape in shapes.items() if len(shape) == 2 and not any(part in name for part in _NO_LINEAR)
    )
    return Size(sum(map(math.prod, shapes.values())), sum(file.stat().st_size for file in files), sum(linear))
