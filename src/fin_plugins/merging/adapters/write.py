"""An adapter's folder as PEFT reads it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.base_layers import CONV1D, EMBEDDING, BaseLayers
from fin_plugins.merging.adapters.factors import EMBEDDING_FACTORS, FACTORS, PREFIX, Product
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS


def write_adapter(
    folder: Path, products: Mapping[str, Product], base: str, targets: list[str], layers: BaseLayers
) -> None:
    """Write factors, as they are, with settings under which PEFT multiplies them by exactly one.

    Args:
        folder: where; made if it is not there. The settings are written last.
        products: the change of each module, in the type to be written.
        base: the model they belong to, as PEFT records it.
        targets: the modules' names as `target_names` gives them.
        layers: those of the base.

    Raises:
        FinError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {}
    for module, product in sorted(products.items()):
        down, up = EMBEDDING_FACTORS if layers.kinds.get(module) == EMBEDDING else FACTORS
        tensors[PREFIX + module + down] = product.down.contiguous()
        tensors[PREFIX + module + up] = product.up.contiguous()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        ranks = {module: product.rank for module, product in products.items()}
        _write_settings(folder, ranks, base, targets, CONV1D in {layers.kinds.get(module) for module in products})
    except OSError as error:
        reason = error.strerror or error
        raise FinError(f"{folder}: cannot be written ({reason}): free some space or change --out") from error


def _write_settings(folder: Path, ranks: Mapping[str, int], base: str, targets: list[str], transposed: bool) -> None:
    from peft import LoraConfig

    most = max(ranks.values())
    # '^': PEFT and vLLM take a pattern for the end of a name.
    pattern = {f"^{module}": rank for module, rank in sorted(ranks.items()) if rank != most}
    config = LoraConfig(
        r=most,
        lora_alpha=most,
        rank_pattern=pattern,
        alpha_pattern=pattern,
        target_modules=targets,
        fan_in_fan_out=transposed,
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    config.save_pretrained(folder)
    file = folder / CONFIG
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["target_modules"] = sorted(saved["target_modules"])  # a set: its order, and so the hash, changes by the run
    file.write_text(json.dumps(saved, indent=2, sort_keys=True), encoding="utf-8")


def target_names(modules: Iterable[str], all_modules: Iterable[str]) -> list[str]:
    """What PEFT calls these modules: the last part of the name where it means no other module, else the whole name.

    Args:
        modules: the modules that are changed.
        all_modules: all weights' modules of the base.
    """
    changed, ends = set(modules), defaultdict(set)
    for module in {*all_modules, *changed}:
        ends[module.rpartition(".")[2]].add(module)
    named = ((module, module.rpartition(".")[2]) for module in changed)
    return sorted({end if ends[end] <= changed else module for module, end in named})
