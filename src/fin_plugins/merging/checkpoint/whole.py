"""Adapters whose change is not a product of two factors (DoRA, biases, whole modules): PEFT adds them, into a file."""

from pathlib import Path

from fin_plugins.errors import FinError
from fin_plugins.merging.inputs.checkpoint import read_checkpoint
from fin_plugins.merging.inputs.resources import SHARD_BYTES
from fin_plugins.merging.model import Expert
from fin_plugins.scoring.adapters import read_config

# What PEFT can merge exactly although two factors do not hold it. What depends on tokens can be merged by nobody.
_MERGEABLE = ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters")


def is_for_peft(expert: Expert) -> bool:
    """Whether the expert is an adapter that may need PEFT: two factors do not hold all of its change."""
    if not expert.is_adapter:
        return False
    config = read_config(expert.name, expert.path)
    init, bias = config.get("init_lora_weights", True), config.get("bias", "none")
    return isinstance(init, str) or bias != "none" or any(config.get(setting) for setting in _MERGEABLE)


def whole_checkpoint(expert: Expert, base: Path, scratch: Path, reason: FinError) -> Path:
    """Write the base with the adapter added, in float32; the whole model is in memory for it.

    Args:
        expert: the adapter.
        base: folder of the base model.
        scratch: a folder to write to.
        reason: why it cannot be read on the fly.

    Raises:
        FinError: it cannot be merged at all, or is no longer of the base's shape.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if not is_for_peft(expert):
        raise reason
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    try:
        merged = PeftModel.from_pretrained(model, str(expert.path)).merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise FinError(f"expert {expert.name}: PEFT cannot merge it ({str(error).splitlines()[0]})") from error
    folder = scratch / expert.name
    merged.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    _check_shape(expert, folder, base)
    return folder


def _check_shape(expert: Expert, folder: Path, base: Path) -> None:
    ours, theirs = read_checkpoint("base", base), read_checkpoint(f"expert {expert.name}", folder)
    shapes = ({name: tensor.shape for name, tensor in model.tensors.items()} for model in (ours, theirs))
    if len({frozenset(shape.items()) for shape in shapes}) > 1:
        raise FinError(f"expert {expert.name}: with it the model has other tensors than the base: it cannot be merged")
