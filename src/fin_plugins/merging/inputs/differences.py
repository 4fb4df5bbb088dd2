"""Whether two checkpoints are of one architecture, tensor for tensor."""

from collections.abc import Collection, Iterator

from fin_plugins.evaluation.base_layers import base_layers
from fin_plugins.merging.inputs.checkpoint import Checkpoint

_SHOWN = 3


def differences(what: str, theirs: Checkpoint, base: Checkpoint) -> Iterator[str]:
    """What keeps a checkpoint from being merged with the base.

    Embeddings that one of them uses as its output layer, too, and the other does not, are no difference.

    Args:
        what: what the checkpoint is called, as `expert fomc`.
        theirs: the checkpoint.
        base: the base.

    Raises:
        FinError: transformers does not have their architecture.
    """
    for key in ("architectures", "model_type"):
        if theirs.config.get(key) != base.config.get(key):
            yield f"{what}: {key} is {theirs.config.get(key)}, and the base's {base.config.get(key)}: not one family"
            return
    ours, others = _shapes(base), _shapes(theirs)
    missing, more = ours.keys() - others.keys(), others.keys() - ours.keys()
    if missing:
        yield f"{what}: {theirs.folder} lacks tensors of the base: {_few(missing)}"
    if more:
        yield f"{what}: {theirs.folder} has tensors that the base has not: {_few(more)}"
    for name in sorted(ours.keys() & others.keys()):
        if others[name] != ours[name]:
            yield f"{what}: {name} has the shape {others[name]}, the base's {ours[name]}: no training of it"
            return


def _shapes(model: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights that the model uses, under their own names."""
    layers = base_layers(model.folder)
    shapes = {name: tensor.shape for name, tensor in model.tensors.items()}
    source = layers.tensor(layers.head)
    return {**shapes, f"{layers.head}.weight": shapes[source]} if layers.tied and source in shapes else shapes


def _few(names: Collection[str]) -> str:
    first = sorted(names)[:_SHOWN]
    return ", ".join(first) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
