"""Experts that PEFT must merge (DoRA, biases, whole modules): their change is more than the product of two factors."""

import warnings
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.evaluation.base_model import header_shapes
from fin_plugins.merging.adapter_files import MERGED_BY_PEFT
from fin_plugins.merging.checkpoints import architecture_differences, read_checkpoint
from fin_plugins.merging.recipes.recipe_model import Expert
from fin_plugins.scoring.adapters import WEIGHTS, read_adapter_config

SHARD_BYTES = 2 << 30
"""Maximum size of a file of weights."""


def needs_peft(expert: Expert) -> bool:
    """Whether the expert is an adapter whose change may be more than the product of two factors."""
    if not expert.is_adapter:
        return False
    config = read_adapter_config(expert.name, expert.path)
    init, bias = config.get("init_lora_weights", True), config.get("bias", "none")
    return isinstance(init, str) or bias != "none" or any(config.get(setting) for setting in MERGED_BY_PEFT)


def adapter_to_checkpoint(expert: Expert, base: Path, parent: Path) -> Path:
    """Write the base with the adapter merged into it, in float32; holds the entire model in memory.

    Args:
        expert: the adapter.
        base: folder of the base model.
        parent: folder for the checkpoint.

    Returns:
        Folder of the checkpoint.

    Raises:
        FinError: PEFT cannot merge the adapter, or the result has other tensors than the base.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tied layers, which are untied below while PEFT merges
            adapted = PeftModel.from_pretrained(model, str(expert.path))
            _check_all_loaded(expert, adapted)
            tied = head is not None and head.weight is embeddings.weight
            if tied:
                head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
            merged = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise FinError(f"expert {expert.name}: PEFT cannot merge it ({first_line(error)})") from error
    if tied:
        _tie_if_equal(merged)
    folder = parent / expert.name
    merged.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    label = f"expert {expert.name}"
    if any(architecture_differences(label, read_checkpoint(label, folder), read_checkpoint("base", base))):
        raise FinError(f"{label}: with it the model has other tensors than the base: it cannot be merged")
    return folder


def _check_all_loaded(expert: Expert, adapted: Any) -> None:
    """Check that PEFT loaded every tensor of the adapter; it silently skips those without a place in the model."""
    from peft import get_peft_model_state_dict

    loaded = set(get_peft_model_state_dict(adapted, save_embedding_layers=True))
    if skipped := sorted(set(header_shapes(expert.path / WEIGHTS)) - loaded):
        raise FinError(
            f"expert {expert.name}: {expert.path / WEIGHTS}: {len(skipped)} of its tensors have no place in the base "
            f"({skipped[0]} ...): give the base that it was trained on, or save it again"
        )


def _tie_if_equal(model: Any) -> None:
    """Tie embeddings and output layer if their weights are equal; else record in the configuration that they differ."""
    import torch

    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    equal = torch.equal(embeddings.weight, head.weight)
    model.config.tie_word_embeddings = equal
    if equal:
        head.weight = embeddings.weight
    else:
        model.all_tied_weights_keys = {}
