"""Checkpoints by their configuration and the headers of their weight files, and whether two fit together."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json
from fin_plugins.common.hashing import digest, hash_files
from fin_plugins.evaluation.base_model import base_layers

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_OTHER_DTYPES = ("F64", "I64", "I32", "BOOL", "U8")
_WEIGHTS = "model.safetensors"
_INDEX = f"{_WEIGHTS}.index.json"
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "consolidated*.pth")
_TOKENIZER = "tokenizer.json"
_OTHER_TOKENIZERS = ("tokenizer.model", "vocab.json", "vocab.txt", "merges.txt")
# An index of 100,000 tensors takes 20 MiB, a vocabulary of 250,000 tokens 30 MiB.
_MAX_JSON_BYTES = 256 << 20
_LISTED = 3  # names in a message


@dataclass(frozen=True)
class TensorHeader:
    """A tensor's shape, its type as safetensors spells it, and the name of its file."""

    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder.

    Attributes:
        folder: absolute path.
        config: content of its `config.json`.
        tensors: headers by name.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorHeader]

    @property
    def dtype(self) -> str:
        """The type of most of its elements."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.size
        return _DTYPES[sizes.most_common(1)[0][0]]

    @property
    def size(self) -> int:
        """Number of elements of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def largest_tensor(self) -> int:
        """Number of elements of the largest tensor."""
        return max(tensor.size for tensor in self.tensors.values())

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight by name, including that of an output layer tied to the embeddings.

        Raises:
            FinError: transformers does not support the architecture.
        """
        layers = base_layers(self.folder)
        shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        source = layers.tensor(layers.head)
        return {**shapes, f"{layers.head}.weight": shapes[source]} if layers.tied and source in shapes else shapes


def read_checkpoint(label: str, folder: Path) -> Checkpoint:
    """Read a checkpoint's configuration and the headers of its weight files.

    Args:
        label: name of the model in messages, for example `base` or `expert fomc`.
        folder: the model's folder.

    Raises:
        FinError: it is not a checkpoint in safetensors, or its weights are quantized.
    """
    config = _read_mapping(label, folder / "config.json", "give the folder of a model")
    if "quantization_config" in config:
        raise FinError(f"{label}: {folder} is quantized: give the model with its full weights")
    tensors: dict[str, TensorHeader] = {}
    for file in _weight_files(label, folder):
        tensors |= _read_headers(label, folder / file)
    dtypes = {tensor.dtype for tensor in tensors.values()}
    unsupported = sorted(dtypes - {*_DTYPES, *_OTHER_DTYPES})
    if unsupported or not dtypes & {*_DTYPES}:
        raise FinError(
            f"{label}: {folder} has weights of type {', '.join(unsupported)}: give the model with its full weights"
        )
    return Checkpoint(folder, config, tensors)


def _weight_files(label: str, folder: Path) -> list[str]:
    """Names of the weight files that mergekit and transformers would choose."""
    if (folder / _INDEX).is_file():
        weight_map = _read_mapping(label, folder / _INDEX, "download the model again").get("weight_map")
        files = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
        missing = [file for file in files if not (folder / file).is_file()]
        if missing or not files:
            raise FinError(f"{label}: {folder / _INDEX} lists {missing or 'no'} files: download the model again")
        return files
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    if any(True for pattern in _PICKLES for _ in folder.glob(pattern)):
        raise FinError(
            f"{label}: {folder} has its weights in Python pickles only, which can run code when read: load it with "
            "transformers where you trust it, and save it with save_pretrained, which writes safetensors"
        )
    raise FinError(f"{label}: {folder} has no {_WEIGHTS} and no {_INDEX}: give the folder that save_pretrained wrote")


def _read_headers(label: str, file: Path) -> dict[str, TensorHeader]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as handle:
            slices = ((name, handle.get_slice(name)) for name in handle.keys())  # noqa: SIM118 (not a mapping)
            return {name: TensorHeader(tuple(it.get_shape()), it.get_dtype(), file.name) for name, it in slices}
    except (OSError, SafetensorError) as error:
        raise FinError(f"{label}: {file} cannot be read ({error}): copy or save it again") from error


def _read_mapping(label: str, file: Path, remedy: str) -> dict[str, Any]:
    try:
        content = read_json(file, _MAX_JSON_BYTES)
    except UnreadableFile as error:
        if not file.exists():
            raise FinError(f"{label}: {file.parent} has no {file.name}: {remedy}") from error
        raise FinError(f"{label}: {file} cannot be read ({error.reason}): {remedy}") from error
    if not isinstance(content, dict):
        raise FinError(f"{label}: {file} is not a mapping: {remedy}")
    return content


def architecture_differences(label: str, checkpoint: Checkpoint, base: Checkpoint) -> Iterator[str]:
    """What keeps a checkpoint from being merged with the base; they may differ in whether embeddings are tied.

    Raises:
        FinError: transformers does not support the architecture.
    """
    for key in ("architectures", "model_type"):
        if checkpoint.config.get(key) != base.config.get(key):
            yield f"{label}: {key} is {checkpoint.config.get(key)}, and the base's is {base.config.get(key)}"
            return
    shapes, base_shapes = checkpoint.weight_shapes(), base.weight_shapes()
    if missing := base_shapes.keys() - shapes.keys():
        yield f"{label}: {checkpoint.folder} lacks tensors of the base: {_list_names(missing)}"
    if extra := shapes.keys() - base_shapes.keys():
        yield f"{label}: {checkpoint.folder} has tensors that the base does not have: {_list_names(extra)}"
    for name in sorted(base_shapes.keys() & shapes.keys()):
        if shapes[name] != base_shapes[name]:
            yield f"{label}: {name} has shape {shapes[name]}, and the base's has {base_shapes[name]}"
            return


def _list_names(names: Collection[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(sorted(names)[:_LISTED]) + more


def check_vocabulary(label: str, folder: Path, base: Path) -> None:
    """Check that a model's tokenizer, if it has one, has the base's vocabulary, including added tokens.

    The format of the files does not matter: versions of a library write the same vocabulary differently.

    Raises:
        FinError: the vocabularies differ, or one cannot be read.
    """
    parts, base_parts = _vocabulary_hashes(label, folder), _vocabulary_hashes("base", base)
    if parts is None or base_parts is None or parts == base_parts:
        return
    different = [part for part in base_parts if parts.get(part) != base_parts[part]] or sorted({*parts} - {*base_parts})
    raise FinError(
        f"{label}: the tokenizer in {folder} differs from the base's in its {' and '.join(different)}, so a token id "
        "would mean different things: merge models of one vocabulary"
    )


def _vocabulary_hashes(label: str, folder: Path) -> dict[str, str] | None:
    """Hashes of the parts of a vocabulary by name; None without a tokenizer."""
    file = folder / _TOKENIZER
    if not file.is_file():
        return hash_files([folder / name for name in _OTHER_TOKENIZERS if (folder / name).is_file()], folder) or None
    try:
        content = dict(read_json(file, _MAX_JSON_BYTES))
    except (UnreadableFile, ValueError, TypeError) as error:
        raise FinError(f"{label}: {file} cannot be read ({error}): copy or save it again") from error
    model = content.get("model") or {}
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or []]
    added = sorted((token.get("id"), token.get("content")) for token in content.get("added_tokens") or [])
    return {"vocabulary": digest(model.get("vocab")), "merges": digest(merges), "added tokens": digest(added)}
