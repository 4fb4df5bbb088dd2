"""A model's folder by its configuration and the headers of its weight files."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_WEIGHTS = "model.safetensors"
_INDEX = f"{_WEIGHTS}.index.json"
_LARGEST = 256 << 20
"""Indices of a hundred thousand tensors take 20 MiB."""
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "consolidated*.pth")


@dataclass(frozen=True)
class Tensor:
    """One tensor's shape, its type as safetensors calls it, and the file that it is in."""

    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder.

    Attributes:
        folder: absolute.
        config: its `config.json`.
        tensors: by name.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def dtype(self) -> str:
        """The type that most of its numbers have."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.size
        return DTYPES[sizes.most_common(1)[0][0]]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def largest(self) -> int:
        """How many numbers its largest tensor holds."""
        return max(tensor.size for tensor in self.tensors.values())


def read_checkpoint(what: str, folder: Path) -> Checkpoint:
    """Read a checkpoint's configuration and the headers of its weight files.

    Args:
        what: what it is called in messages, as `base` or `expert fomc`.
        folder: the folder.

    Raises:
        FinError: it is no checkpoint in safetensors, or its weights are not plain ones.
    """
    config = _json(what, folder / "config.json", "give the folder of a model")
    if "quantization_config" in config:
        raise FinError(f"{what}: {folder} is quantised: give the model with its full weights")
    tensors: dict[str, Tensor] = {}
    for file in _files(what, folder):
        tensors |= _header(what, folder / file)
    odd = sorted({tensor.dtype for tensor in tensors.values()} - {*DTYPES, "F64", "I64", "I32", "BOOL", "U8"})
    if odd or not any(tensor.dtype in DTYPES for tensor in tensors.values()):
        raise FinError(f"{what}: {folder} holds weights of type {', '.join(odd)}: give the model with full weights")
    return Checkpoint(folder, config, tensors)


def _files(what: str, folder: Path) -> list[str]:
    """The files that hold its weights, as mergekit and transformers would choose them."""
    if (folder / _INDEX).is_file():
        named = _json(what, folder / _INDEX, "download the model again").get("weight_map")
        files = sorted(set(named.values())) if isinstance(named, dict) else []
        missing = [file for file in files if not (folder / file).is_file()]
        if missing or not files:
            raise FinError(f"{what}: {folder / _INDEX} names {missing or 'no'} files: download the model again")
        return files
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    if any(True for pattern in _PICKLES for _ in folder.glob(pattern)):
        raise FinError(
            f"{what}: {folder} has its weights in Python pickles only, which can run code when read: load it with "
            "transformers where you trust it, and save it with save_pretrained, which writes safetensors"
        )
    raise FinError(f"{what}: {folder} has no {_WEIGHTS}, nor {_INDEX}: give the folder that save_pretrained wrote")


def _header(what: str, file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as handle:
            slices = ((name, handle.get_slice(name)) for name in handle.keys())  # noqa: SIM118 (no mapping)
            return {name: Tensor(tuple(part.get_shape()), part.get_dtype(), file.name) for name, part in slices}
    except (OSError, SafetensorError) as error:
        raise FinError(f"{what}: {file} cannot be read ({error}): copy or save it again") from error


def _json(what: str, file: Path, mend: str) -> dict[str, Any]:
    try:
        content = read_json(file, _LARGEST)
    except UnreadableFile as error:
        if not file.exists():
            raise FinError(f"{what}: {file.parent} has no {file.name}: {mend}") from error
        raise FinError(f"{what}: {file} cannot be read ({error.reason}): {mend}") from error
    if not isinstance(content, dict):
        raise FinError(f"{what}: {file} is no mapping: {mend}")
    return content
