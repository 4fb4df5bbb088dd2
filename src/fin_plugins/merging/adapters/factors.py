"""LoRA adapters as pairs of factors, read module by module from memory-mapped files; what is not exact is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fin_plugins.errors import FinError
from fin_plugins.evaluation.servable import BY_TOKEN, CHANGES_THE_BASE, INITS_THAT_KEEP_THE_BASE, PEFT_ONLY
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, read_adapter, read_config

PREFIX = "base_model.model."
_FACTORS = (".lora_A.weight", ".lora_B.weight")
_INSTEAD = "merge into a checkpoint (without --as-adapter)"

# Settings of PEFT under which the change of the weights is not the scaled product of the two factors alone.
_REFUSED = {
    **PEFT_ONLY,
    **CHANGES_THE_BASE,
    **BY_TOKEN,
    "target_parameters": "factors of bare parameters (target_parameters)",
}


@dataclass(frozen=True)
class Product:
    """A matrix as the product of two: `up @ down`, `[out, rank]` and `[rank, in]`."""

    up: torch.Tensor
    down: torch.Tensor

    @property
    def rank(self) -> int:
        """Columns of `up`, which may be more than the matrix's own rank."""
        return int(self.down.shape[0])

    def dense(self) -> torch.Tensor:
        """The matrix itself."""
        return self.up @ self.down

    def to(self, *arguments: torch.dtype | torch.device) -> "Product":
        """Both factors in another type or on another device."""
        return Product(self.up.to(*arguments), self.down.to(*arguments))

    def norm(self) -> float:
        """The matrix's Frobenius norm, without forming it; in float64, whatever the factors are."""
        up, down = self.up.double(), self.down.double()
        return math.sqrt(max(float(((up.T @ up) * (down @ down.T)).sum()), 0.0))


@dataclass(frozen=True)
class Factors:
    """An adapter whose change of each module is exactly one product.

    Attributes:
        name: as the user calls it.
        path: its folder.
        base: the model it was trained on, as PEFT recorded it.
        scales: alpha / rank, or what rsLoRA and the patterns make of it, by the name of the module.
        transposed: whether the weights it changes are stored as `[in, out]` (PEFT's fan_in_fan_out).
    """

    name: str
    path: Path
    base: str
    scales: Mapping[str, float]
    transposed: bool
    _handle: Any

    def product(self, module: str) -> Product | None:
        """Its change of a module's weight, in float64, the scale within `up`; None where it does not change it.

        The scale stands in one factor, so that the other keeps the bits it was saved with.

        Raises:
            FinError: a value is not finite.
        """
        if module not in self.scales:
            return None
        down, up = (self._tensor(module, factor).double() for factor in _FACTORS)
        return Product(up * self.scales[module], down)

    def rank(self, module: str) -> int:
        """The rank of its change of a module, 0 where it does not change it; nothing is read."""
        return self.shape(module)[1] if module in self.scales else 0

    def shape(self, module: str) -> tuple[int, int, int]:
        """Rows out, rank and columns in of its change of a module; nothing is read."""
        down, up = (self._handle.get_slice(PREFIX + module + factor).get_shape() for factor in _FACTORS)
        return int(up[0]), int(down[0]), int(down[1])

    def _tensor(self, module: str, factor: str) -> torch.Tensor:
        tensor: torch.Tensor = self._handle.get_tensor(PREFIX + module + factor)
        if not bool(tensor.isfinite().all()):
            raise _refusal(self.name, self.path / WEIGHTS, f"{module}{factor} holds NaN or infinity", "train it again")
        return tensor


def read_factors(name: str, path: Path) -> Factors:
    """Open an adapter for merging; only its settings and the header of its file are read.

    Raises:
        FinError: it is no LoRA adapter in safetensors, or changes weights in a way that two factors do not hold.
    """
    adapter = read_adapter(name, path)
    config = read_config(name, adapter.path)
    _check_settings(name, adapter.path, config)
    handle = _open(name, adapter.path / WEIGHTS)
    modules = _modules(name, adapter.path / WEIGHTS, handle)
    scales = {module: _scale(name, adapter.path, config, module, rank) for module, rank in modules.items()}
    return Factors(name, adapter.path, adapter.base, scales, bool(config.get("fan_in_fan_out")), handle)


def _check_settings(name: str, folder: Path, config: Mapping[str, Any]) -> None:
    for setting, feature in _REFUSED.items():
        if config.get(setting):
            raise _refusal(name, folder / CONFIG, f"it has {feature}, which two factors do not hold")
    if config.get("bias", "none") != "none":
        raise _refusal(name, folder / CONFIG, f"bias={config['bias']!r} replaces the base's own biases")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in INITS_THAT_KEEP_THE_BASE:
        mend = "save it with PEFT's path_initial_model_for_weight_conversion, which makes it a plain LoRA"
        raise _refusal(
            name, folder / CONFIG, f"init_lora_weights={init!r} takes it out of the base's own weights", mend
        )


def _open(name: str, file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise _refusal(name, file, f"cannot be read ({error})", "copy or save it again") from error


def _modules(name: str, file: Path, handle: Any) -> dict[str, int]:
    """The rank each module's factors have."""
    ranks: dict[str, int] = {}
    tensors = set(handle.keys())
    for tensor in sorted(tensors):
        module, end = tensor[: -len(_FACTORS[0])].removeprefix(PREFIX), tensor[-len(_FACTORS[0]) :]
        if end not in _FACTORS or not tensor.startswith(PREFIX):
            raise _refusal(name, file, f"{tensor} is no factor of a linear layer: embeddings are not merged")
        shapes = [handle.get_slice(part).get_shape() for f in _FACTORS if (part := PREFIX + module + f) in tensors]
        if len(shapes) < 2 or any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][1]:
            raise _refusal(name, file, f"{module} has factors of shapes {shapes}, not two that multiply")
        ranks[module] = int(shapes[0][0])
    if not ranks:
        raise _refusal(name, file, "it holds no LoRA weights", "save it again")
    return ranks


def _scale(name: str, folder: Path, config: Mapping[str, Any], module: str, rank: int) -> float:
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    said = _by_pattern(ranks, module, config.get("r"))
    if said != rank:
        raise _refusal(name, folder / CONFIG, f"{module} has rank {rank} in the file and {said} here", "save it again")
    alpha = _by_pattern(alphas, module, config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _refusal(name, folder / CONFIG, f"lora_alpha of {module} is {alpha!r}, not a number", "save it again")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _by_pattern(pattern: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    from peft.utils.other import get_pattern_key

    return pattern.get(get_pattern_key(list(pattern), module), otherwise) if pattern else otherwise


def _refusal(name: str, file: Path, what: str, mend: str = _INSTEAD) -> FinError:
    return FinError(f"expert {name}: {file}: {what}: {mend}")
