"""LoRA adapters on disk: read as factors module by module, and written as PEFT reads them.

An adapter is refused if its change of a weight is not exactly the product of its two factors.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.compat.peft import pattern_value
from fin_plugins.evaluation.adapter_support import (
    BASE_CHANGING_FEATURES,
    BASE_PRESERVING_INITS,
    PEFT_ONLY_FEATURES,
    TOKEN_DEPENDENT_FEATURES,
)
from fin_plugins.evaluation.base_model import CONV1D, EMBEDDING, BaseLayers
from fin_plugins.merging.low_rank import LowRankMatrix
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, read_adapter, read_adapter_config

PREFIX = "base_model.model."
"""How PEFT's tensor names begin."""
USE_CHECKPOINT = "merge into a checkpoint (without --as-adapter)"
_FACTORS = (".lora_A.weight", ".lora_B.weight")
_EMBEDDING_FACTORS = (".lora_embedding_A", ".lora_embedding_B")
# The base's own weight, which PEFT saves with adapters of embeddings or of the output layer.
_BASE_COPY = ".base_layer.weight"
_USE_PEFT = "merge it into the base with PEFT's merge_and_unload, and give the result as the expert"
_LEAVE_OUT = "no merge can represent it: leave the expert out"
_FLOAT32_ERROR = 1e-6  # share of a matrix's norm that rounding its factors to float32 costs

MERGED_BY_PEFT = ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters")
"""Settings whose effect is more than two factors, and which PEFT can still merge into the base's weights."""
# Settings under which the change of a weight is not the scaled product of the two factors alone.
_UNSUPPORTED = {
    **PEFT_ONLY_FEATURES,
    **BASE_CHANGING_FEATURES,
    **TOKEN_DEPENDENT_FEATURES,
    "target_parameters": "factors of bare parameters (target_parameters)",
}


@dataclass(frozen=True)
class AdapterFactors:
    """An adapter whose change of each module is exactly one low-rank matrix; factors are read on demand.

    Attributes:
        name: as in `--expert NAME=PATH`.
        path: folder of the adapter.
        base: the model it was trained on, as PEFT recorded it.
        scales: factor of `up @ down` by module: alpha / rank, with rsLoRA and patterns taken into account.
        layers: the layers of the base.
        base_copies: modules for which the file contains a copy of the base's weight.
    """

    name: str
    path: Path
    base: str
    scales: Mapping[str, float]
    layers: BaseLayers
    base_copies: tuple[str, ...]
    _handle: Any

    def change(self, module: str) -> LowRankMatrix | None:
        """The change of a module's weight, `[out, in]`, in float64; None if the adapter leaves it alone.

        The scale is part of `up`, so `down` keeps the bits it was saved with.

        Raises:
            FinError: a value is not finite.
        """
        if module not in self.scales:
            return None
        down, up = (self._tensor(name).double() for name in self._tensor_names(module))
        return LowRankMatrix(up * self.scales[module], down)

    def dense_change(self, module: str, device: torch.device | str = "cpu") -> torch.Tensor | None:
        """The change of a module's weight in float32, in the orientation in which the base stores the weight."""
        change = self.change(module)
        if change is None:
            return None
        dense = change.to(torch.float32).to(torch.device(device)).dense()
        return dense.T if self.layers.transposed(module) else dense

    def rank(self, module: str) -> int:
        """The rank of the change of a module, 0 if there is none; reads no weights."""
        return self.shape(module)[1] if module in self.scales else 0

    def shape(self, module: str) -> tuple[int, int, int]:
        """Rows, rank and columns of the change of a module; reads no weights."""
        down, up = (self._handle.get_slice(name).get_shape() for name in self._tensor_names(module))
        return int(up[0]), int(down[0]), int(down[1])

    def unties(self) -> bool:
        """Whether embeddings and output layer, which share one weight in the base, get different weights."""
        layers = self.layers
        changed = [module for module in (layers.embeddings, layers.head) if module in self.scales]
        if not layers.tied or len(changed) < 2:
            return layers.tied and bool(changed)
        embeddings, head = self.change(layers.embeddings), self.change(layers.head)
        assert embeddings is not None and head is not None
        difference = LowRankMatrix(
            torch.cat([head.up, -embeddings.down.T], dim=1), torch.cat([head.down, embeddings.up.T])
        )
        return difference.norm() > _FLOAT32_ERROR * head.norm()

    def check_base(
        self, folder: Path, shapes: Mapping[str, tuple[int, ...]], read_tensor: Callable[[str], torch.Tensor]
    ) -> None:
        """Check that the adapter fits the base.

        Args:
            folder: folder of the base.
            shapes: shapes of the base's weights by tensor name.
            read_tensor: reads a tensor of the base by name.

        Raises:
            FinError: a module has no weight of the adapter's shape in the base, or the file's copy of one of the base's
                weights is a different weight, which PEFT would put into the base.
        """
        for module in self.scales:
            rows, _, columns = self.shape(module)
            expected = (columns, rows) if self.layers.transposed(module) else (rows, columns)
            actual = shapes.get(f"{module}.weight")
            if actual != expected:
                raise FinError(
                    f"expert {self.name} changes {module}, a weight of {expected}, and {folder} has "
                    f"{f'a weight of {actual}' if actual else 'no such tensor'} in its files: give the base that it "
                    "was trained on, as transformers' save_pretrained writes it"
                )
        for module in self.base_copies:
            copy, weight = self._tensor(PREFIX + module + _BASE_COPY), read_tensor(self.layers.tensor(module))
            # The copy has the type of the training, which may be shorter or longer than the base's.
            if copy.shape != weight.shape or not torch.equal(copy.to(weight.dtype), weight.to(copy.dtype).to(weight)):
                fault = f"{module}{_BASE_COPY} differs from the base's weight, which PEFT would replace by it"
                raise _error(self.name, self.path / WEIGHTS, fault, _USE_PEFT)

    def _tensor_names(self, module: str) -> list[str]:
        suffixes = _EMBEDDING_FACTORS if self.layers.kinds[module] == EMBEDDING else _FACTORS
        return [PREFIX + module + suffix for suffix in suffixes]

    def _tensor(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._handle.get_tensor(name)
        if not bool(tensor.isfinite().all()):
            fault = f"{name.removeprefix(PREFIX)} holds NaN or infinity"
            raise _error(self.name, self.path / WEIGHTS, fault, "train it again")
        return tensor


def read_adapter_factors(name: str, path: Path, layers: BaseLayers) -> AdapterFactors:
    """Open an adapter for merging; reads its configuration and the header of its weights.

    Args:
        name: as in `--expert NAME=PATH`.
        path: folder of the adapter.
        layers: the layers of the base. Like PEFT, they decide on the orientation of a weight, not the adapter's
            `fan_in_fan_out`.

    Raises:
        FinError: it is not a LoRA adapter in safetensors, or two factors cannot represent its change of a weight.
    """
    adapter = read_adapter(name, path)
    config = read_adapter_config(name, adapter.path)
    _check_config(name, adapter.path, config)
    file = adapter.path / WEIGHTS
    handle = _open_weights(name, file)
    tensors = set(handle.keys())
    modules = _factor_suffixes(name, file, tensors, layers)
    if config.get("ensure_weight_tying") and layers.tied and len({layers.embeddings, layers.head} & set(modules)) == 1:
        fault = "it has one of the two layers that ensure_weight_tying ties"
        raise _error(name, file, fault, "save it again with PEFT")
    ranks = {module: _read_rank(name, file, handle, module, suffixes) for module, suffixes in modules.items()}
    scales = {module: _scale(name, adapter.path, config, module, rank) for module, rank in ranks.items()}
    copies = tuple(sorted(module for module in modules if PREFIX + module + _BASE_COPY in tensors))
    return AdapterFactors(name, adapter.path, adapter.base, scales, layers, copies, handle)


def _check_config(name: str, folder: Path, config: Mapping[str, Any]) -> None:
    file = folder / CONFIG
    for setting, feature in _UNSUPPORTED.items():
        if config.get(setting):
            remedy = (
                USE_CHECKPOINT
                if setting in MERGED_BY_PEFT
                else _LEAVE_OUT
                if setting in TOKEN_DEPENDENT_FEATURES
                else _USE_PEFT
            )
            raise _error(name, file, f"it has {feature}, which two factors cannot represent", remedy)
    if config.get("bias", "none") != "none":
        raise _error(name, file, f"bias={config['bias']!r} replaces the base's own biases")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in BASE_PRESERVING_INITS:
        remedy = "save it with PEFT's path_initial_model_for_weight_conversion, which makes it a plain LoRA"
        raise _error(name, file, f"init_lora_weights={init!r} changes the base's own weights", remedy)


def _open_weights(name: str, file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise _error(name, file, f"cannot be read ({error})", "copy or save it again") from error


def _factor_suffixes(name: str, file: Path, tensors: set[str], layers: BaseLayers) -> dict[str, tuple[str, str]]:
    """The suffixes of the names of each module's two factors, after a check of all tensor names."""
    modules = {
        tensor.removesuffix(suffix).removeprefix(PREFIX): suffixes
        for tensor in tensors
        for suffixes in (_FACTORS, _EMBEDDING_FACTORS)
        for suffix in suffixes
        if tensor.endswith(suffix)
    }
    known = {PREFIX + module + suffix for module, suffixes in modules.items() for suffix in (*suffixes, _BASE_COPY)}
    if unknown := sorted(tensors - known):
        raise _error(name, file, f"{unknown[0]} is not a LoRA factor of a layer", _USE_PEFT)
    if not modules:
        raise _error(name, file, "it holds no LoRA weights", "save it again")
    for module, suffixes in sorted(modules.items()):
        kind = layers.kinds.get(module)
        if kind is None:
            raise _error(name, file, f"{module} is neither a linear layer nor an embedding of the base", _USE_PEFT)
        if (kind == EMBEDDING) != (suffixes == _EMBEDDING_FACTORS):
            raise _error(name, file, f"{module} has {suffixes[0]}, and in the base it is a layer of kind {kind}")
    return dict(sorted(modules.items()))


def _read_rank(name: str, file: Path, handle: Any, module: str, suffixes: tuple[str, str]) -> int:
    names = {PREFIX + module + suffix for suffix in suffixes}
    shapes = [tuple(handle.get_slice(tensor).get_shape()) for tensor in sorted(names & set(handle.keys()))]
    if len(shapes) < 2 or any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][1]:
        fault = f"{module} has factors of shapes {shapes}, which cannot be multiplied"
        raise _error(name, file, fault, "save it again")
    return int(shapes[0][0])


def _scale(name: str, folder: Path, config: Mapping[str, Any], module: str, rank: int) -> float:
    recorded = pattern_value(config.get("rank_pattern") or {}, module, config.get("r"))
    if recorded != rank:
        fault = f"{module} has rank {recorded} here and {rank} in {WEIGHTS}"
        raise _error(name, folder / CONFIG, fault, "save it again")
    alpha = pattern_value(config.get("alpha_pattern") or {}, module, config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _error(name, folder / CONFIG, f"lora_alpha of {module} is {alpha!r}, not a number", "save it again")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _error(name: str, file: Path, fault: str, remedy: str = USE_CHECKPOINT) -> FinError:
    return FinError(f"expert {name}: {file}: {fault}: {remedy}")


def write_adapter(
    folder: Path, changes: Mapping[str, LowRankMatrix], base: str, targets: list[str], layers: BaseLayers
) -> None:
    """Write factors unchanged, with a configuration under which PEFT scales them by exactly one.

    Args:
        folder: folder of the adapter, created if necessary; the configuration is written last.
        changes: the change of each module, in the type to be written.
        base: the base model as PEFT records it.
        targets: names of the modules, from `target_modules`.
        layers: the layers of the base.

    Raises:
        FinError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {}
    for module, change in sorted(changes.items()):
        down, up = _EMBEDDING_FACTORS if layers.kinds.get(module) == EMBEDDING else _FACTORS
        tensors[PREFIX + module + down] = change.down.contiguous()
        tensors[PREFIX + module + up] = change.up.contiguous()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        ranks = {module: change.rank for module, change in changes.items()}
        _write_config(folder, ranks, base, targets, CONV1D in {layers.kinds.get(module) for module in changes})
    except OSError as error:
        raise FinError(
            f"{folder}: cannot be written ({error.strerror or error}): free some space or change --out"
        ) from error


def _write_config(folder: Path, ranks: Mapping[str, int], base: str, targets: list[str], transposed: bool) -> None:
    from peft import LoraConfig

    rank = max(ranks.values())
    # PEFT and vLLM match a pattern against the end of a name unless it begins with '^'.
    pattern = {f"^{module}": module_rank for module, module_rank in sorted(ranks.items()) if module_rank != rank}
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
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
    saved["target_modules"] = sorted(saved["target_modules"])  # PEFT saves a set, whose order changes with every run
    file.write_text(json.dumps(saved, indent=2, sort_keys=True), encoding="utf-8")


def target_modules(modules: Iterable[str], all_modules: Iterable[str]) -> list[str]:
    """PEFT's names of changed modules: the last part if it matches no unchanged module, else the full name."""
    changed, by_last_part = set(modules), defaultdict(set)
    for module in {*all_modules, *changed}:
        by_last_part[module.rpartition(".")[2]].add(module)
    last_parts = ((module, module.rpartition(".")[2]) for module in changed)
    return sorted({last if by_last_part[last] <= changed else module for module, last in last_parts})
