"""Base and four adapters on two tasks: one `fin eval` against five runs of `lm_eval --model vllm`, end to end.

    python benchmarks/share_engine.py                     # the demo model, two cores: about 20 minutes

Adapters are seeded random LoRA weights (rank 16, all linear layers): what they answer does not matter for speed. The
stock runs get `lora_target_modules` too: without it vLLM 0.32's CPU build fails at `prompt_logprobs` with an adapter.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import BIN, QUIET, row_source

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Run all six commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="fin_fpb,fin_fomc")
    parser.add_argument("--limit", default="40", help="documents a task (default 40)")
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument(
        "--mirror", type=Path, default=os.environ.get("FIN_TEST_MIRROR"), help="raw data, for real rows"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        scratch = Path(folder)
        env = {**os.environ, **QUIET, **row_source(options.mirror, scratch)}
        model, adapters = _adapters(scratch, options.adapters)
        base = {"pretrained": str(model), "dtype": "bfloat16", "max_model_len": 2048, "enforce_eager": True}
        common = ["--tasks", options.tasks, "--limit", options.limit, "--batch_size", "auto", "--apply_chat_template"]
        stock = [
            _run(
                [BIN / "lm_eval", "--model", "vllm", *_given(base | extra), *common, *_out(scratch / f"s{number}")], env
            )
            for number, extra in enumerate([{}, *map(_stock_adapter, adapters)])
        ]
        flags = [word for path in adapters for word in ("--adapter", f"{path.name}={path}")]
        ours = _run(
            [BIN / "fin", "eval", "--model", "fin_vllm", *_given(base), *flags, *common, *_out(scratch / "f")], env
        )
    _print(options, stock, ours)


def _adapters(scratch: Path, count: int) -> tuple[Path, list[Path]]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from fin_plugins.demo import demo_model

    folders = []
    for seed in range(count):
        torch.manual_seed(seed)
        config = LoraConfig(r=16, lora_alpha=2, target_modules=MODULES, init_lora_weights=False)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(demo_model()), config)
        folders.append(scratch / f"seed{seed}")
        model.save_pretrained(folders[-1])
    return demo_model(), folders


def _stock_adapter(path: Path) -> dict[str, object]:
    return {"lora_local_path": str(path), "lora_target_modules": MODULES}


def _given(arguments: dict[str, object]) -> list[str]:
    return ["--model_args", json.dumps(arguments)]


def _out(folder: Path) -> list[str]:
    return ["--output_path", str(folder), "--log_samples"]


def _run(command: list[object], env: dict[str, str]) -> float:
    """Seconds that the command took."""
    print("…", *command[:4], file=sys.stderr, flush=True)
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-4000:])
    seconds, starts = time.perf_counter() - start, done.stdout.count("engine started")
    print(f"  {seconds:.0f} s{f', {starts} engine start(s) in the log' if starts else ''}", file=sys.stderr)
    return seconds


def _print(options: argparse.Namespace, stock: list[float], ours: float) -> None:
    print(f"base and {options.adapters} adapters, {options.tasks}, {options.limit} documents a task\n")
    print("| what | seconds |\n|---|---:|")
    for number, seconds in enumerate(stock):
        print(f"| lm_eval --model vllm, {'an adapter' if number else 'base'} | {seconds:.0f} |")
    print(f"| all {len(stock)} stock runs | {sum(stock):.0f} |\n| one fin eval | {ours:.0f} |")
    print(f"\nratio {sum(stock) / ours:.1f}")


if __name__ == "__main__":
    main()
