"""Whether an adapter belongs to the base model that is served: by name, by content, by the shapes of its matrices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json
from fin_plugins.common.hashing import hash_files
from fin_plugins.evaluation.base_layers import CONV1D, base_layers
from fin_plugins.scoring.adapters import WEIGHTS, Adapter

Shapes = dict[str, tuple[int, ...]]

# What a checkpoint's config.json says about its making and not about the model.
_NOT_ARCHITECTURE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache")
# Folder names that say nothing about which model lies there.
_COMMON_NAMES = ("model", "base", "final", "merged", "output", "checkpoint", "latest", "")


def check_base(
    adapter: Adapter,
    pretrained: str,
    base_folder: Path,
    any_base: bool = False,
    same: Callable[[Path, Path], bool] | None = None,
) -> None:
    """Check that the adapter was trained on the model that is served, and fits it.

    The recorded base is accepted where it is the same string or folder, where both are folders here with equal content,
    or where it is not on this machine and has the same name. The shapes of the adapter's matrices are always compared.

    Args:
        adapter: the adapter.
        pretrained: the served model as the user named it, a folder or a hub id.
        base_folder: where that model's files are on this machine.
        any_base: accept another base than the recorded one, and one of unknown shapes (`--any-base`), knowingly.
        same: whether two folders hold the same model; by default `same_model`.

    Raises:
        FinError: it was trained on another model, or cannot be put on this one.
    """
    if not any_base:
        _check_name(adapter, pretrained, base_folder, same or same_model)
    check_shapes(adapter, base_folder, unknown=any_base)


def _check_name(adapter: Adapter, pretrained: str, base_folder: Path, same: Callable[[Path, Path], bool]) -> None:
    if not adapter.base:
        raise FinError(
            f"adapter {adapter.name} does not say which model it was trained on (base_model_name_or_path): "
            f"pass --any-base if you know that it is {pretrained}"
        )
    recorded = Path(adapter.base).expanduser()
    if adapter.base == pretrained:
        return
    if (recorded / "config.json").is_file():
        if recorded.resolve() == base_folder.resolve() or same(recorded, base_folder):
            return
    elif _model_name(adapter.base) == _model_name(pretrained) != "":
        return
    raise FinError(
        f"adapter {adapter.name} was trained on {adapter.base}, and the model served is {pretrained}: "
        f"pass pretrained={adapter.base}, or --any-base if you know that the two are the same model"
    )


def _model_name(model: str) -> str:
    """The last part of a folder or hub id, in lower case; empty where it does not name a model."""
    parts = [part for part in model.lower().split("/") if part]
    cached = [part for part in parts if part.startswith("models--")]  # the hub's cache: models--OWNER--NAME/snapshots/…
    name = cached[-1].split("--")[-1] if cached else parts[-1] if parts else ""
    return "" if name in _COMMON_NAMES or name.startswith("checkpoint-") else name


def same_model(first: Path, second: Path) -> bool:
    """Whether two checkpoint folders hold the same architecture and, byte for byte, the same weight files."""
    if _architecture(first) != _architecture(second):
        return False
    ours, theirs = (sorted(folder.glob("*.safetensors")) for folder in (first, second))
    if not ours or [(f.name, f.stat().st_size) for f in ours] != [(f.name, f.stat().st_size) for f in theirs]:
        return False
    return hash_files(ours, first) == hash_files(theirs, second)


def _architecture(folder: Path) -> dict[str, Any]:
    config = _base_config(folder)
    return {key: value for key, value in config.items() if key not in _NOT_ARCHITECTURE}


def _base_config(folder: Path) -> dict[str, Any]:
    try:
        return dict(read_json(folder / "config.json"))
    except (UnreadableFile, ValueError, TypeError) as error:
        raise FinError(f"{folder}: its config.json cannot be read ({error}): give a model's folder") from error


def check_shapes(adapter: Adapter, base_folder: Path, unknown: bool = False) -> None:
    """Check that every matrix the adapter changes is there in the base, and of the right shape; no weight is loaded.

    Args:
        adapter: the adapter.
        base_folder: the base's checkpoint.
        unknown: let a base pass whose shapes cannot be told (no safetensors, and no architecture of transformers').

    Raises:
        FinError: the base has no such module, or one of another shape.
    """
    file = adapter.path / WEIGHTS
    found = header_shapes(file)
    wanted: Shapes = {}
    for name, shape in found.items():
        module, _, factor = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        if factor in ("lora_A", "lora_embedding_A"):
            up = found.get(name.replace("_A", "_B"))
            if up is None or min(len(shape), len(up)) < 2 or up[1] != shape[0]:  # ungathered shards of ZeRO are empty
                raise FinError(f"adapter {adapter.name}: {file}: {module} has factors {shape} and {up}: save it again")
            wanted[module] = (shape[1], up[0]) if "embedding" in factor else (up[0], shape[1])
        elif factor == "base_layer":  # the embeddings PEFT saves along: another size is another vocabulary
            wanted.setdefault(module, shape)
    wanted = {module: shape for module, shape in wanted.items() if len(shape) == 2 and ".experts" not in module}
    base = _base_shapes(base_folder, wanted)
    if not base and not unknown:
        raise FinError(
            f"adapter {adapter.name}: {base_folder} shows no shapes to compare it with (no safetensors, and not an "
            "architecture this transformers version has): pass --any-base if you know that the adapter fits"
        )
    for module, shape in wanted.items() if base else ():
        theirs = base.get(f"{module}.weight")
        if theirs != shape and not (theirs == shape[::-1] and base_layers(base_folder).kinds.get(module) == CONV1D):
            has = f"has {_by(theirs)} there" if theirs else "has no such module"
            raise FinError(
                f"adapter {adapter.name} changes {module}, a matrix of {_by(shape)}, and {base_folder} {has}: "
                f"it was trained on another model, pass that one as pretrained= (recorded: {adapter.base or 'none'})"
            )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def header_shapes(file: Path) -> Shapes:
    """Name and shape of every tensor in a safetensors file, from its header.

    Raises:
        FinError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as handle:
            return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FinError(f"{file} cannot be read ({error}): copy or save it again") from error


def _base_shapes(folder: Path, wanted: Shapes) -> Shapes:
    """Shapes of the base's weights: from its files' headers, and where they do not say, from an empty model.

    Files leave out tied weights, pack quantised ones, and may use other names than the model has.
    """
    shapes: Shapes = {}
    if not folder.is_dir():  # one file of weights, as GGUF
        return shapes
    if "quantization_config" not in _base_config(folder):
        for file in sorted(folder.glob("*.safetensors")):
            shapes.update(header_shapes(file))
    return shapes if all(f"{module}.weight" in shapes for module in wanted) else {**shapes, **_empty_model(folder)}


def _empty_model(folder: Path) -> Shapes:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, OSError, ImportError, AttributeError):  # not an architecture of this transformers version
        return {}
    return {name: tuple(weight.shape) for name, weight in model.named_parameters(remove_duplicate=False)}
