"""LoRA adapters as pairs of factors, read module by module from memory-mapped files; what is not exact is refused."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fin_plugins.common.errors import FinError
from fin_plugins.compat.peft import pattern_value
from fin_plugins.evaluation.base_layers import EMBEDDING, BaseLayers
from fin_plugins.evaluation.servable import BY_TOKEN, CHANGES_THE_BASE, INITS_THAT_KEEP_THE_BASE, PEFT_ONLY
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, read_adapter, read_config

PREFIX = "base_model.model."
FACTORS = (".lora_A.weight", ".lora_B.weight")
EMBEDDING_FACTORS = (".lora_embedding_A", ".lora_embedding_B")
# The base's own weight, which PEFT saves along where LoRA is on embeddings or on the output layer.
_COPY = ".base_layer.weight"
INSTEAD = "merge into a checkpoint (without --as-adapter)"
_BY_PEFT = "merge it into the base with PEFT's merge_and_unload, and give the result as the expert"
_LEAVE_OUT = "no merge holds that: leave the expert out"
_SAME = 1e-6  # of a product's norm: what rounding of factors in float32 comes to

# What PEFT can merge exactly although two factors do not hold it. What depends on tokens can be merged by nobody.
PEFT_MERGES = ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters")

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
        layers: those of the base.
        copies: modules whose weight in the base the file repeats.
    """

    name: str
    path: Path
    base: str
    scales: Mapping[str, float]
    layers: BaseLayers
    copies: tuple[str, ...]
    _handle: Any

    def product(self, module: str) -> Product | None:
        """Its change of a module, `[out, in]`, in float64, the scale within `up`; None where it does not change it.

        The scale stands in one factor, so that the other keeps the bits it was saved with.

        Raises:
            FinError: a value is not finite.
        """
        if module not in self.scales:
            return None
        down, up = (self._tensor(name).double() for name in self._names(module))
        return Product(up * self.scales[module], down)

    def change(self, module: str, device: torch.device | str = "cpu") -> torch.Tensor | None:
        """Its change of a module's weight, in float32, as the base stores that; None where it does not change it."""
        product = self.product(module)
        if product is None:
            return None
        dense = product.to(torch.float32).to(torch.device(device)).dense()
        return dense.T if self.layers.transposed(module) else dense

    def rank(self, module: str) -> int:
        """The rank of its change of a module, 0 where it does not change it; nothing is read."""
        return self.shape(module)[1] if module in self.scales else 0

    def shape(self, module: str) -> tuple[int, int, int]:
        """Rows out, rank and columns in of its change of a module; nothing is read."""
        down, up = (self._handle.get_slice(name).get_shape() for name in self._names(module))
        return int(up[0]), int(down[0]), int(down[1])

    def unties(self) -> bool:
        """Whether it gives embeddings and output layer, of one weight in the base, weights that differ."""
        layers = self.layers
        changed = [module for module in (layers.embeddings, layers.head) if module in self.scales]
        if not layers.tied or len(changed) < 2:
            return layers.tied and bool(changed)
        into, out = self.product(layers.embeddings), self.product(layers.head)
        assert into is not None and out is not None
        apart = Product(torch.cat([out.up, -into.down.T], dim=1), torch.cat([out.down, into.up.T]))
        return apart.norm() > _SAME * out.norm()

    def check_copies(self, read: Callable[[str], torch.Tensor]) -> None:
        """Check that what the file repeats of the base is the base's.

        Args:
            read: gives a tensor of the base by its name.

        Raises:
            FinError: it is not: with this adapter PEFT puts other weights into the base.
        """
        for module in self.copies:
            copy, weight = self._tensor(PREFIX + module + _COPY), read(self.layers.tensor(module))
            # Saved in the type of the training, which may be shorter or longer than the base's own.
            if copy.shape != weight.shape or not torch.equal(copy.to(weight.dtype), weight.to(copy.dtype).to(weight)):
                what = f"{module}{_COPY} is another weight than the base's, which PEFT replaces by it"
                raise _refusal(self.name, self.path / WEIGHTS, what, _BY_PEFT)

    def _names(self, module: str) -> list[str]:
        ends = EMBEDDING_FACTORS if self.layers.kinds[module] == EMBEDDING else FACTORS
        return [PREFIX + module + end for end in ends]

    def _tensor(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._handle.get_tensor(name)
        if not bool(tensor.isfinite().all()):
            what = f"{name.removeprefix(PREFIX)} holds NaN or infinity"
            raise _refusal(self.name, self.path / WEIGHTS, what, "train it again")
        return tensor


def read_factors(name: str, path: Path, layers: BaseLayers) -> Factors:
    """Open an adapter for merging; only its settings and the header of its file are read.

    Args:
        name: as the user calls it.
        path: its folder.
        layers: those of the base, by which PEFT goes: what the settings say of their orientation (`fan_in_fan_out`)
            does not count.

    Raises:
        FinError: it is no LoRA adapter in safetensors, or changes weights in a way that two factors do not hold.
    """
    adapter = read_adapter(name, path)
    config = read_config(name, adapter.path)
    _check_settings(name, adapter.path, config)
    file = adapter.path / WEIGHTS
    handle = _open(name, file)
    tensors = set(handle.keys())
    modules = _modules(name, file, tensors, layers)
    if config.get("ensure_weight_tying") and layers.tied and len({layers.embeddings, layers.head} & set(modules)) == 1:
        raise _refusal(name, file, "of two layers that ensure_weight_tying ties, it has one", "save it again with PEFT")
    ranks = {module: _rank(name, file, handle, module, ends) for module, ends in modules.items()}
    scales = {module: _scale(name, adapter.path, config, module, rank) for module, rank in ranks.items()}
    copies = tuple(sorted(module for module in modules if PREFIX + module + _COPY in tensors))
    return Factors(name, adapter.path, adapter.base, scales, layers, copies, handle)


def _check_settings(name: str, folder: Path, config: Mapping[str, Any]) -> None:
    for setting, feature in _REFUSED.items():
        if config.get(setting):
            mend = INSTEAD if setting in PEFT_MERGES else _LEAVE_OUT if setting in BY_TOKEN else _BY_PEFT
            raise _refusal(name, folder / CONFIG, f"it has {feature}, which two factors do not hold", mend)
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


def _modules(name: str, file: Path, tensors: set[str], layers: BaseLayers) -> dict[str, tuple[str, str]]:
    """What the names of each module's two factors end with; every tensor of the file is one of them, or a copy."""
    found = {
        tensor.removesuffix(end).removeprefix(PREFIX): ends
        for tensor in tensors
        for ends in (FACTORS, EMBEDDING_FACTORS)
        for end in ends
        if tensor.endswith(end)
    }
    known = {PREFIX + module + end for module, ends in found.items() for end in (*ends, _COPY)}
    if odd := sorted(tensors - known):
        raise _refusal(name, file, f"{odd[0]} is no factor of LoRA on a layer", _BY_PEFT)
    if not found:
        raise _refusal(name, file, "it holds no LoRA weights", "save it again")
    for module, ends in sorted(found.items()):
        kind = layers.kinds.get(module)
        if kind is None:
            raise _refusal(name, file, f"{module} is neither a linear layer nor an embedding of the base", _BY_PEFT)
        if (kind == EMBEDDING) != (ends == EMBEDDING_FACTORS):
            raise _refusal(name, file, f"{module} has {ends[0]}, and the base has a layer of kind {kind} there")
    return dict(sorted(found.items()))


def _rank(name: str, file: Path, handle: Any, module: str, ends: tuple[str, str]) -> int:
    names = {PREFIX + module + end for end in ends}
    shapes = [tuple(handle.get_slice(part).get_shape()) for part in sorted(names & set(handle.keys()))]
    if len(shapes) < 2 or any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][1]:
        raise _refusal(name, file, f"{module} has factors of shapes {shapes}, not two that multiply", "save it again")
    return int(shapes[0][0])


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
    return pattern_value(pattern, module, otherwise)


def _refusal(name: str, file: Path, what: str, mend: str = INSTEAD) -> FinError:
    return FinError(f"expert {name}: {file}: {what}: {mend}")
