"""The layers of a base as its architecture has them: what PEFT goes by when it puts LoRA on one. No weight is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fin_plugins.common.errors import FinError, first_line

LINEAR, CONV1D, EMBEDDING = "linear", "conv1d", "embedding"


@dataclass(frozen=True)
class BaseLayers:
    """A model's layers that LoRA can change.

    Attributes:
        kinds: `LINEAR`, `CONV1D` (transformers' own, as in GPT-2) or `EMBEDDING`, by the name of the module.
        embeddings: the module of the input embeddings.
        head: the module of the output layer; empty where the model has none.
        tied: whether the output layer has no weight but the embeddings'.
    """

    kinds: Mapping[str, str]
    embeddings: str = ""
    head: str = ""
    tied: bool = False

    def transposed(self, module: str) -> bool:
        """Whether the module's weight is stored as `[in, out]`, so that LoRA's product has to be turned round."""
        return self.kinds[module] != LINEAR

    def tensor(self, module: str) -> str:
        """The checkpoint's tensor that the module's weight is read from: tied to another, that one's."""
        return f"{self.embeddings if self.tied and module == self.head else module}.weight"


def base_layers(folder: Path, *, untied: bool = False) -> BaseLayers:
    """Read the layers from a model's configuration.

    Args:
        folder: the model's.
        untied: have the architecture with an output layer of its own, which the model may tie to the embeddings.

    Raises:
        FinError: this transformers version does not have the architecture, or the configuration cannot be read.
    """
    try:
        return _layers(folder, (folder / "config.json").read_bytes(), untied)
    except (ValueError, OSError, ImportError, AttributeError, KeyError, TypeError) as error:
        raise FinError(
            f"{folder}: transformers cannot build the architecture of its config.json ({first_line(error)}), so that "
            "nothing tells how its layers lie: give a model of an architecture that transformers has"
        ) from error


@lru_cache(maxsize=16)
def _layers(folder: Path, config: bytes, untied: bool) -> BaseLayers:
    import torch
    import transformers
    from transformers.pytorch_utils import Conv1D

    settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if untied:
        settings.tie_word_embeddings = False
    with torch.device("meta"):
        try:
            model = transformers.AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
        except ValueError:  # no language model alone: what the checkpoint says it is
            model = getattr(transformers, settings.architectures[0])(settings)
    classes = ((torch.nn.Embedding, EMBEDDING), (torch.nn.Linear, LINEAR), (Conv1D, CONV1D))
    modules = dict(model.named_modules(remove_duplicate=False))
    kinds = {name: kind for name, module in modules.items() for found, kind in classes if isinstance(module, found)}
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in modules.items()}
    tied = head is not None and head.weight is embeddings.weight
    return BaseLayers(kinds, names[id(embeddings)], names.get(id(head), ""), tied)
