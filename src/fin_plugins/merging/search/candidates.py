"""The experts' factors side by side: every candidate is these, each expert's columns times its own number."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from fin_plugins.common.atomic import exclusive_path, remove_scratch_folders
from fin_plugins.evaluation.base_layers import base_layers
from fin_plugins.merging.adapters.factors import Factors, Product, read_factors
from fin_plugins.merging.adapters.merge import merge_as_adapter
from fin_plugins.merging.adapters.write import target_names, write_adapter
from fin_plugins.merging.model import Filled
from fin_plugins.merging.recipes.expand import Models
from fin_plugins.scoring.adapters import WEIGHTS, Adapter, read_adapter

_RAM = Path("/dev/shm")  # noqa: S108 (a file system in memory, where Linux has one)
_PREFIX = "fin-search-"


@dataclass(frozen=True)
class Stack:
    """Adapters that can be summed.

    Attributes:
        experts: by name.
        base: the base's folder.
    """

    experts: Mapping[str, Factors]
    base: Path

    @property
    def modules(self) -> list[str]:
        """All modules that an expert changes."""
        return sorted({module for expert in self.experts.values() for module in expert.scales})

    @property
    def room(self) -> int:
        """Bytes of two candidates in float32, at most."""
        # Experts may be saved in half of that; the last candidate goes when the next one is there.
        return 4 * sum((expert.path / WEIGHTS).stat().st_size for expert in self.experts.values())

    def columns(self, module: str, factors: Mapping[str, float]) -> torch.Tensor:
        """Of the factors side by side, the number that each column is multiplied by."""
        return torch.cat([torch.full((one.rank(module),), factors[name]) for name, one in self.experts.items()])

    def write(self, folder: Path, factors: Mapping[str, float]) -> Adapter | None:
        """Write a weighted sum as an adapter, of the same shape for all factors; None where all are 0."""
        if not any(factors.values()):
            return None
        products = {module: self._product(module, factors) for module in self.modules}
        layers = next(iter(self.experts.values())).layers
        write_adapter(folder, products, str(self.base), target_names(products, self.modules), layers)
        return read_adapter(folder.name, folder)

    def _product(self, module: str, factors: Mapping[str, float]) -> Product:
        named = ((factors[name], expert.product(module)) for name, expert in self.experts.items())
        parts = [(factor, product) for factor, product in named if product]
        up = torch.cat([factor * product.up for factor, product in parts], dim=1)
        return Product(up, torch.cat([product.down for _, product in parts])).to(torch.float32)


def read_stack(models: Models) -> Stack:
    """Open the experts.

    Raises:
        FinError: one is no adapter whose change is exactly the product of two factors.
    """
    layers = base_layers(models.base)
    experts = {expert.name: read_factors(expert.name, expert.path, layers) for expert in models.experts}
    return Stack(experts, models.base)


def check_writable(filled: Filled, scratch: Path) -> None:
    """Merge once, so that nothing is found to be in the way of writing the best merge after hours of scoring.

    Raises:
        FinError: no adapter holds this merge, with the reason.
    """
    merge_as_adapter(filled, scratch / "trial")
    shutil.rmtree(scratch / "trial")


@contextmanager
def scratch_folder(room: int) -> Iterator[Path]:
    """An empty folder for adapters that are soon gone; what a killed search left is removed.

    Args:
        room: bytes they take; where a file system in memory has as many, the folder is there.
    """
    ram = _RAM.is_dir() and os.access(_RAM, os.W_OK) and shutil.disk_usage(_RAM).free > room
    parent = _RAM if ram else Path(tempfile.gettempdir())
    remove_scratch_folders(parent, _PREFIX)
    folder = parent / f"{_PREFIX}{uuid.uuid4().hex}"
    with exclusive_path(folder):
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
