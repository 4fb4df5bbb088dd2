"""The experts' factors side by side; a candidate scales the columns of each expert by a coefficient."""

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
from fin_plugins.evaluation.base_model import base_layers
from fin_plugins.merging.adapter_files import AdapterFactors, read_adapter_factors, target_modules, write_adapter
from fin_plugins.merging.low_rank import LowRankMatrix
from fin_plugins.merging.recipes.recipe_model import MergeModels
from fin_plugins.scoring.adapters import WEIGHTS, Adapter, read_adapter

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 (a file system in memory on Linux)
_PREFIX = "fin-search-"


@dataclass(frozen=True)
class StackedAdapters:
    """Adapters of one base that can be summed.

    Attributes:
        experts: the adapters by name.
        base: folder of the base.
    """

    experts: Mapping[str, AdapterFactors]
    base: Path

    @property
    def modules(self) -> list[str]:
        """All modules that an expert changes."""
        return sorted({module for expert in self.experts.values() for module in expert.scales})

    @property
    def candidate_bytes(self) -> int:
        """Bytes of two candidates in float32, at most; the last one is removed when the next one exists."""
        return 4 * sum((expert.path / WEIGHTS).stat().st_size for expert in self.experts.values())  # saved in 16 bits

    def column_scales(self, module: str, coefficients: Mapping[str, float]) -> torch.Tensor:
        """The factor of each column of a module's stacked `up`."""
        scales = (torch.full((expert.rank(module),), coefficients[name]) for name, expert in self.experts.items())
        return torch.cat(list(scales))

    def write(self, folder: Path, coefficients: Mapping[str, float]) -> Adapter | None:
        """Write a weighted sum as an adapter, whose shape does not depend on the coefficients.

        Returns:
            The adapter; None if all coefficients are 0.
        """
        if not any(coefficients.values()):
            return None
        changes = {module: self._stack(module, coefficients) for module in self.modules}
        layers = next(iter(self.experts.values())).layers
        write_adapter(folder, changes, str(self.base), target_modules(changes, self.modules), layers)
        return read_adapter(folder.name, folder)

    def _stack(self, module: str, coefficients: Mapping[str, float]) -> LowRankMatrix:
        changes = ((coefficients[name], expert.change(module)) for name, expert in self.experts.items())
        terms = [(coefficient, change) for coefficient, change in changes if change]
        up = torch.cat([coefficient * change.up for coefficient, change in terms], dim=1)
        return LowRankMatrix(up, torch.cat([change.down for _, change in terms])).to(torch.float32)


def stack_adapters(models: MergeModels) -> StackedAdapters:
    """Open the experts.

    Raises:
        FinError: an expert is not an adapter whose change of each weight is the product of two factors.
    """
    layers = base_layers(models.base)
    experts = {expert.name: read_adapter_factors(expert.name, expert.path, layers) for expert in models.experts}
    return StackedAdapters(experts, models.base)


@contextmanager
def scratch_folder(required_bytes: int) -> Iterator[Path]:
    """An empty folder for short-lived adapters; removes the folders of killed searches.

    Args:
        required_bytes: size of the adapters; the folder is in memory if there is enough space.

    Yields:
        The folder.
    """
    in_memory = MEMORY_FOLDER.is_dir() and os.access(MEMORY_FOLDER, os.W_OK)
    in_memory = in_memory and shutil.disk_usage(MEMORY_FOLDER).free > required_bytes
    parent = MEMORY_FOLDER if in_memory else Path(tempfile.gettempdir())
    remove_scratch_folders(parent, _PREFIX)
    folder = parent / f"{_PREFIX}{uuid.uuid4().hex}"
    with exclusive_path(folder):
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
