"""The demonstration: the card's own command, on the embedded model and rows."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.demo.model import demo_model
from fin_plugins.hardware import computes_bfloat16

# What a two-core machine without a GPU needs; on a GPU these are harmless.
_ENGINE_ARGUMENTS = {"vllm": ("max_model_len=2048", "enforce_eager=True"), "hf": ()}
ENVIRONMENT = {
    "FIN_DATA": "sample",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # by default vLLM leaves one core idle: half of a two-core machine
    "VLLM_LOGGING_LEVEL": "WARNING",
    "LMEVAL_LOG_LEVEL": "ERROR",  # its warnings repeat for every task; its bars and tables stay
    "TQDM_DELAY": "5",  # seconds before a bar shows: hides those of short work
}


def run_demo(engine: str, tasks: str, output: Path) -> list[Path]:
    """Run lm-eval on the embedded rows and return the result files that it wrote.

    Raises:
        FinError: where the engine is not installed, lm-eval fails, or it wrote no result file.
    """
    _need(engine)
    before = set(output.rglob("*.json*"))
    command = lm_eval_command(engine, demo_model(), tasks, output)
    print(f"\nFIN_DATA=sample {shlex.join(['lm_eval', *command[3:]])}\n", flush=True)
    status = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, check=False).returncode
    files = sorted(set(output.rglob("*.json*")) - before)
    # vLLM 0.32 now and then aborts when the interpreter ends, with everything written: lm-eval never ends its engine.
    if status and not (files and status == -signal.SIGABRT):
        raise FinError(f"lm_eval ended with exit status {status}; what it printed above says why")
    if not files:
        raise FinError(f"lm_eval wrote no result file under {output}: is the folder writable?")
    return files


def make_board(results: Path) -> Path:
    """Make the board of the demo's results beside them and return its page.

    Raises:
        FinError: the board cannot be made.
    """
    folder = results.with_name(f"{results.name}-board")
    command = [str(Path(sys.executable).with_name("fin")), "board", str(results), "--out", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise FinError(f"the results are written, but no board could be made of them: {made.stderr.strip()}")
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
    """The command line that runs the same tasks on the real rows with the demo model, ready to be pasted."""
    folder = Path(sys.executable).parent
    on_path = Path(shutil.which("fin") or "").parent == folder
    prefix = "" if on_path else f"{os.path.relpath(folder)}/"
    command = lm_eval_command(engine, demo_model(), tasks, output)[3:]
    settings = "VLLM_CPU_KVCACHE_SPACE=2 " if engine == "vllm" else ""
    return f"{prefix}fin data fetch && {settings}{prefix}lm_eval {shlex.join(command)}"


def _need(engine: str) -> None:
    distribution = {"vllm": "vllm", "hf": "torch"}[engine]
    try:
        version(distribution)
    except PackageNotFoundError:
        raise FinError(
            f"{distribution} is not installed here: `make demo` in the repository sets everything up, and on a GPU "
            'machine `pip install "fin-plugins[vllm]"` does'
        ) from None
