"""Base and four adapters on two tasks, end to end: one `fin eval` against five runs of `lm_eval --model vllm`.

    python benchmarks/share_engine.py                     # the demo model, two cores: about 20 minutes

The adapters are seeded random LoRA weights (rank 16, all linear layers); their answers do not affect speed. The
`lm_eval` runs pass `lora_target_modules`, without which vLLM 0.32's CPU build fails at `prompt_logprobs` with an
adapter.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from measure import BIN, MODEL_ENVIRONMENT, add_mirror_option, argument_parser, print_progress, print_row, row_source

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Run all commands and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--tasks", default="fin_fpb,fin_fomc")
    parser.add_argument("--limit", default="40", help="documents per task (default 40)")
    parser.add_argument("--adapters", type=int, default=4)
    add_mirror_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        scratch = Path(folder)
        env = {**os.environ, **MODEL_ENVIRONMENT, **row_source(options.mirror, scratch)}
        model, adapters = _make_adapters(scratch, options.adapters)
        base = {"pretrained": str(model), "dtype": "bfloat16", "max_model_len": 2048, "enforce_eager": True}
        common = ["--tasks", options.tasks, "--limit", options.limit, "--batch_size", "auto", "--apply_chat_template"]
        lm_eval = [BIN / "lm_eval", "--model", "vllm", *common, "--log_samples"]
        stock = []
        for number, adapter in enumerate([{}, *map(_lm_eval_adapter, adapters)]):
            output = ["--output_path", scratch / f"lm_eval{number}"]
            stock.append(_run([*lm_eval, "--model_args", json.dumps(base | adapter), *output], env))
        flags = [word for path in adapters for word in ("--adapter", f"{path.name}={path}")]
        fin_eval = [BIN / "fin", "eval", "--model", "fin_vllm", *common, "--log_samples", *flags]
        output = ["--output_path", scratch / "fin_eval"]
        shared = _run([*fin_eval, "--model_args", json.dumps(base), *output], env)
    _print_table(options, stock, shared)


def _make_adapters(scratch: Path, count: int) -> tuple[Path, list[Path]]:
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


def _lm_eval_adapter(path: Path) -> dict[str, object]:
    """Model arguments that select an adapter in lm-eval's `vllm`."""
    return {"lora_local_path": str(path), "lora_target_modules": MODULES}


def _run(command: list[object], env: dict[str, str]) -> float:
    """Wall seconds of a command."""
    words = list(map(str, command))
    print_progress(" ".join(words[:4]))
    start = time.perf_counter()
    process = subprocess.run(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if process.returncode:
        raise SystemExit(process.stdout[-4000:])
    seconds, starts = time.perf_counter() - start, process.stdout.count("engine started")
    print_progress(f"  {seconds:.0f} s{f', {starts} engine start(s) in the log' if starts else ''}")
    return seconds


def _print_table(options: argparse.Namespace, stock: list[float], shared: float) -> None:
    print(f"base and {options.adapters} adapters, {options.tasks}, {options.limit} documents per task\n")
    print("| command | seconds |\n|---|---:|")
    for number, seconds in enumerate(stock):
        print_row(f"lm_eval --model vllm, {'an adapter' if number else 'base'}", f"{seconds:.0f}")
    print_row(f"all {len(stock)} lm_eval runs", f"{sum(stock):.0f}")
    print_row("one fin eval", f"{shared:.0f}")
    print(f"\nratio {sum(stock) / shared:.1f}")


if __name__ == "__main__":
    main()
