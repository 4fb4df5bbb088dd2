"""Adapters whose change is not a product of two factors (DoRA, biases, whole modules): PEFT adds them, into a file."""

import warnings
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.evaluation.base_match import header_shapes
from fin_plugins.merging.adapters.factors import PEFT_MERGES
from fin_plugins.merging.adapters.linear import is_linear
from fin_plugins.merging.inputs.checkpoint import read_checkpoint
from fin_plugins.merging.inputs.differences import differences
from fin_plugins.merging.inputs.resources import SHARD_BYTES
from fin_plugins.merging.model import Expert, Filled
from fin_plugins.scoring.adapters import WEIGHTS, read_config


def is_for_peft(expert: Expert) -> bool:
    """Whether the expert is an adapter that may need PEFT: two factors do not hold all of its change."""
    if not expert.is_adapter:
        return False
    config = read_config(expert.name, expert.path)
    init, bias = config.get("init_lora_weights", True), config.get("bias", "none")
    return isinstance(init, str) or bias != "none" or any(config.get(setting) for setting in PEFT_MERGES)


def held_by_adapter(filled: Filled) -> bool:
    """Whether one adapter holds the merge exactly: a weighted sum of adapters that are products of two factors."""
    return is_linear(filled.method) and all(one.is_adapter and not is_for_peft(one) for one in filled.experts)


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
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tied layers: what PEFT does to both at once is kept apart here
            adapted = PeftModel.from_pretrained(model, str(expert.path))
            _check_read(expert, adapted)
            tied = head is not None and head.weight is embeddings.weight
            if tied:
                head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
            merged = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise FinError(f"expert {expert.name}: PEFT cannot merge it ({first_line(error)})") from error
    if tied:
        _tie_again(merged)
    folder = scratch / expert.name
    merged.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    _check_shape(expert, folder, base)
    return folder


def _check_read(expert: Expert, adapted: Any) -> None:
    """Check that PEFT took every tensor of the adapter's file: what finds no place in the model it leaves out."""
    from peft import get_peft_model_state_dict

    taken = set(get_peft_model_state_dict(adapted, save_embedding_layers=True))
    if left := sorted(set(header_shapes(expert.path / WEIGHTS)) - taken):
        raise FinError(
            f"expert {expert.name}: {expert.path / WEIGHTS}: PEFT finds no place in the base for {len(left)} of its "
            f"tensors ({left[0]} ...): give the base that it was trained on, or save it again"
        )


def _tie_again(model: Any) -> None:
    """Make one weight of embeddings and output layer where they are equal; else say so in the configuration."""
    import torch

    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    same = torch.equal(embeddings.weight, head.weight)
    model.config.tie_word_embeddings = same
    if same:
        head.weight = embeddings.weight
    else:
        model.all_tied_weights_keys = {}


def _check_shape(expert: Expert, folder: Path, base: Path) -> None:
    ours, theirs = read_checkpoint("base", base), read_checkpoint(f"expert {expert.name}", folder)
    if next(differences(f"expert {expert.name}", theirs, ours), None):
        raise FinError(f"expert {expert.name}: with it the model has other tensors than the base: it cannot be merged")
