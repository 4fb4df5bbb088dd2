"""mergekit's own planner, asked what to do with each tensor: a recipe means the same for checkpoints and adapters."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.merging.model import Filled

if TYPE_CHECKING:
    from mergekit.options import MergeOptions

# These methods multiply the result's change of the base where the experts' changes are multiplied, but mergekit 0.1.5
# takes small changes for none: sce weights experts alike where their mean squares sum to less than 1e-6, which is
# what adapters have; model_stock shortens cosines where the product of two norms is below 1e-6. So they are given
# changes that are larger by this power of two, and the result's is divided by it.
_STRETCH = {"sce": 4096.0, "model_stock": 4096.0}


def stretch(method: str) -> float:
    """What the experts' changes are multiplied with before mergekit sees them, and the result's divided by."""
    return _STRETCH.get(method, 1.0)


def tensor_tasks(filled: Filled, options: "MergeOptions") -> list[Any]:
    """Ask mergekit for its tasks, one for each tensor of the result; no weights are read.

    Args:
        filled: the recipe, filled in; its models are read through loaders (`compat.mergekit.loaders_in_place`).
        options: mergekit's.

    Raises:
        FinError: mergekit does not take the recipe for this model.
    """
    from transformers import AutoConfig

    from fin_plugins.compat import mergekit

    # Rounding to the result's type is ours: what is lost by it is measured.
    asked = {key: value for key, value in filled.config.items() if key != "out_dtype"}
    try:
        shape = AutoConfig.from_pretrained(filled.base, trust_remote_code=False, local_files_only=True)
        with no_warnings():
            # All inputs have the base's tensors, so its architecture is theirs; of an adapter mergekit knows none.
            return mergekit.plan(asked, filled.base, shape, options)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        raise FinError(
            f"{filled.recipe}: mergekit does not take the recipe for {filled.base} ({first_line(error)}): mend it"
        ) from error


@contextmanager
def no_warnings() -> Iterator[None]:
    """Silence warnings: mergekit warns, through the root logger, of architectures that it works out by itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
