"""The base model: its layers and shapes, and whether an adapter was trained on it and fits it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.foreign_files import UnreadableFile, read_json
from fin_plugins.common.hashing import hash_files
from fin_plugins.scoring.adapters import WEIGHTS, Adapter

LINEAR, CONV1D, EMBEDDING = "linear", "conv1d", "embedding"

Shapes = dict[str, tuple[int, ...]]

# Settings of a checkpoint's config.json that describe how it was saved, not the model.
_NON_ARCHITECTURE_SETTINGS = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache")
# Folder names that do not identify a model.
_GENERIC_NAMES = ("model", "base", "final", "merged", "output", "checkpoint", "latest", "")


@dataclass(frozen=True)
class BaseLayers:
    """A model's layers that LoRA can adapt.

    Attributes:
        kinds: `LINEAR`, `CONV1D` (transformers' own, as in GPT-2) or `EMBEDDING`, by module name.
        embeddings: module of the input embeddings.
        head: module of the output layer; empty if the model has none.
        tied: whether the output layer shares the embeddings' weight.
    """

    kinds: Mapping[str, str]
    embeddings: str = ""
    head: str = ""
    tied: bool = False

    def transposed(self, module: str) -> bool:
        """Whether the module's weight is stored as `[in, out]`, so that LoRA's product must be transposed."""
        return self.kinds[module] != LINEAR

    def tensor(self, module: str) -> str:
        """Name of the checkpoint's tensor that holds the module's weight; of the embeddings for a tied head."""
        return f"{self.embeddings if self.tied and module == self.head else module}.weight"


def base_layers(folder: Path, *, untied: bool = False) -> BaseLayers:
    """Find the layers of a model's architecture, without reading a weight. PEFT attaches LoRA to the same layers.

    Args:
        folder: the model's folder.
        untied: build the architecture with a separate output layer, even if the model ties it to the embeddings.

    Raises:
        FinError: the installed transformers lacks the architecture, or the configuration cannot be read.
    """
    try:
        return _architecture_layers(folder, (folder / "config.json").read_bytes(), untied)
    except (ValueError, OSError, ImportError, AttributeError, KeyError, TypeError) as error:
        raise FinError(
            f"{folder}: transformers cannot build the architecture of its config.json ({first_line(error)}), so its "
            "layers are unknown: give a model whose architecture transformers has"
        ) from error


def check_base(
    adapter: Adapter,
    pretrained: str,
    base_folder: Path,
    any_base: bool = False,
    same: Callable[[Path, Path], bool] | None = None,
) -> None:
    """Check that the adapter was trained on the served model, and fits it.

    The recorded base is accepted if it is the same string or folder, if both are local folders with equal content, or
    if it is not on this machine and has the same name. The shapes of the adapter's matrices are always compared.

    Args:
        adapter: the adapter.
        pretrained: the served model as named by the user, a folder or a hub id.
        base_folder: folder of that model's files on this machine.
        any_base: accept a base other than the recorded one, and one of unknown shapes (`--any-base`).
        same: whether two folders hold the same model; by default `is_same_model`.

    Raises:
        FinError: it was trained on another model, or does not fit this one.
    """
    if not any_base:
        _check_recorded_base(adapter, pretrained, base_folder, same or is_same_model)
    check_shapes(adapter, base_folder, allow_unknown=any_base)


def is_same_model(first: Path, second: Path) -> bool:
    """Whether two checkpoint folders have the same architecture and byte-identical weight files."""
    if _architecture(first) != _architecture(second):
        return False
    first_files, second_files = (sorted(folder.glob("*.safetensors")) for folder in (first, second))
    sizes = [[(file.name, file.stat().st_size) for file in files] for files in (first_files, second_files)]
    return (
        bool(sizes[0]) and sizes[0] == sizes[1] and hash_files(first_files, first) == hash_files(second_files, second)
    )


def check_shapes(adapter: Adapter, base_folder: Path, allow_unknown: bool = False) -> None:
    """Check that the base has every matrix that the adapter changes, in the right shape; loads no weights.

    Args:
        adapter: the adapter.
        base_folder: the base's checkpoint.
        allow_unknown: accept a base of unknown shapes (no safetensors, and no architecture of transformers).

    Raises:
        FinError: the base has no such module, or one of another shape.
    """
    shapes = _adapted_shapes(adapter)
    base_shapes = _base_shapes(base_folder, shapes)
    if not base_shapes and not allow_unknown:
        raise FinError(
            f"adapter {adapter.name}: the shapes in {base_folder} are unknown (no safetensors, and not an architecture "
            "of the installed transformers): pass --any-base if you know that the adapter fits"
        )
    for module, shape in shapes.items() if base_shapes else ():
        base_shape = base_shapes.get(f"{module}.weight")
        if base_shape == shape:
            continue
        if base_shape == shape[::-1] and base_layers(base_folder).kinds.get(module) == CONV1D:
            continue
        mismatch = f"has {_format_shape(base_shape)} there" if base_shape else "has no such module"
        raise FinError(
            f"adapter {adapter.name} changes {module}, a matrix of {_format_shape(shape)}, but {base_folder} "
            f"{mismatch}: it was trained on another model; pass it as pretrained= (recorded: {adapter.base or 'none'})"
        )


def header_shapes(file: Path) -> Shapes:
    """Shapes of all tensors in a safetensors file by name, from its header.

    Raises:
        FinError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as handle:
            return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise FinError(f"{file} cannot be read ({error}): copy or save it again") from error


@lru_cache(maxsize=16)
def _architecture_layers(folder: Path, _config: bytes, untied: bool) -> BaseLayers:
    import torch
    import transformers
    from transformers.pytorch_utils import Conv1D

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if untied:
        config.tie_word_embeddings = False
    with torch.device("meta"):
        try:
            model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        except ValueError:  # not a pure language model: the class that the checkpoint names
            model = getattr(transformers, config.architectures[0])(config)
    classes = ((torch.nn.Embedding, EMBEDDING), (torch.nn.Linear, LINEAR), (Conv1D, CONV1D))
    modules = dict(model.named_modules(remove_duplicate=False))
    kinds = {name: kind for name, module in modules.items() for cls, kind in classes if isinstance(module, cls)}
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in modules.items()}
    tied = head is not None and head.weight is embeddings.weight
    return BaseLayers(kinds, names[id(embeddings)], names.get(id(head), ""), tied)


def _check_recorded_base(
    adapter: Adapter, pretrained: str, base_folder: Path, same: Callable[[Path, Path], bool]
) -> None:
    if not adapter.base:
        raise FinError(
            f"adapter {adapter.name} does not record the model it was trained on (base_model_name_or_path): "
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
        f"adapter {adapter.name} was trained on {adapter.base}, but the model served is {pretrained}: "
        f"pass pretrained={adapter.base}, or --any-base if you know that the two are the same model"
    )


def _model_name(model: str) -> str:
    """The last part of a folder or hub id, in lower case; empty if it does not identify a model."""
    parts = [part for part in model.lower().split("/") if part]
    cached = [part for part in parts if part.startswith("models--")]  # the hub's cache: models--OWNER--NAME/snapshots/…
    name = cached[-1].split("--")[-1] if cached else parts[-1] if parts else ""
    return "" if name in _GENERIC_NAMES or name.startswith("checkpoint-") else name


def _architecture(folder: Path) -> dict[str, Any]:
    config = _read_base_config(folder)
    return {key: value for key, value in config.items() if key not in _NON_ARCHITECTURE_SETTINGS}


def _read_base_config(folder: Path) -> dict[str, Any]:
    try:
        return dict(read_json(folder / "config.json"))
    except (UnreadableFile, ValueError, TypeError) as error:
        raise FinError(f"{folder}: its config.json cannot be read ({error}): give a model's folder") from error


def _adapted_shapes(adapter: Adapter) -> Shapes:
    """Shapes of the matrices that the adapter changes, by module; without stacked experts."""
    file = adapter.path / WEIGHTS
    tensors = header_shapes(file)
    shapes: Shapes = {}
    for name, shape in tensors.items():
        module, _, factor = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        if factor in ("lora_A", "lora_embedding_A"):
            up = tensors.get(name.replace("_A", "_B"))
            if up is None or min(len(shape), len(up)) < 2 or up[1] != shape[0]:  # ungathered shards of ZeRO are empty
                raise FinError(f"adapter {adapter.name}: {file}: {module} has factors {shape} and {up}: save it again")
            shapes[module] = (shape[1], up[0]) if "embedding" in factor else (up[0], shape[1])
        elif factor == "base_layer":  # the embeddings that PEFT saves too: another size is another vocabulary
            shapes.setdefault(module, shape)
    return {module: shape for module, shape in shapes.items() if len(shape) == 2 and ".experts" not in module}


def _base_shapes(folder: Path, adapted: Shapes) -> Shapes:
    """Shapes of the base's weights: from its files' headers, or from an empty model if they are not sufficient.

    Files omit tied weights, pack quantised ones, and may use other names than the model.
    """
    shapes: Shapes = {}
    if not folder.is_dir():  # a single file of weights, such as GGUF
        return shapes
    if "quantization_config" not in _read_base_config(folder):
        for file in sorted(folder.glob("*.safetensors")):
            shapes.update(header_shapes(file))
    complete = all(f"{module}.weight" in shapes for module in adapted)
    return shapes if complete else {**shapes, **_empty_model_shapes(folder)}


def _empty_model_shapes(folder: Path) -> Shapes:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, OSError, ImportError, AttributeError):  # no architecture of the installed transformers
        return {}
    return {name: tuple(weight.shape) for name, weight in model.named_parameters(remove_duplicate=False)}


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
