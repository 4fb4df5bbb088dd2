"""What the result takes over from the base as it is: configuration, tokenizer, chat template, generation settings."""

import json
import shutil
from pathlib import Path

from fin_plugins.merging.inputs.checkpoint import Checkpoint

_PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_NOT_CARRIED = ("config.json", "merge.json", "train.json", "run.json")
_NOT_CARRIED_ENDS = (".index.json",)


def carry(base: Checkpoint, dtype: str, folder: Path, *, untied: bool = False) -> None:
    """Write them into the result's folder.

    Args:
        base: the base model.
        dtype: of the result's weights.
        folder: the result's.
        untied: whether the output layer no longer shares the embeddings' weight.
    """
    for file in (file for pattern in _PATTERNS for file in base.folder.glob(pattern)):
        if file.is_file() and file.name not in _NOT_CARRIED and not file.name.endswith(_NOT_CARRIED_ENDS):
            shutil.copyfile(file, folder / file.name)
    templates = base.folder / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name)
    # No code is carried, so nothing may point to it; transformers knows the architecture without.
    config = {key: value for key, value in base.config.items() if key not in ("auto_map", "_name_or_path")}
    config |= {"tie_word_embeddings": False} if untied else {}
    named = "torch_dtype" if "torch_dtype" in config else "dtype"
    (folder / "config.json").write_text(json.dumps({**config, named: dtype}, indent=2) + "\n", encoding="utf-8")
