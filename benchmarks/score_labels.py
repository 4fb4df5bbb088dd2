"""`fin_vllm` against lm-eval's `vllm`: time per document, memory and inner nodes, by block size and number of labels.

    python benchmarks/score_labels.py                     # the demo model, two cores: about 25 minutes
    python benchmarks/score_labels.py --shape 8b --gpu    # random weights at 8B shape, on a GPU

Each engine runs in its own process, one at a time. The prefix cache is emptied before each measurement. Rows are real
with `--mirror` (or FIN_DATA=real after `fin data fetch`), otherwise the embedded ones; the table says which.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import (
    add_mirror_option,
    argument_parser,
    print_progress,
    print_row,
    report_result,
    row_source,
    run_worker,
    total_peak_memory,
)

TASKS = ("fin_fpb", "fin_fomc", "fin_argument", "fin_finred")
LABELS = (2, 3, 5, 8, 12, 16, 20, 24, 29)
SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}


def main() -> None:
    """Measure and print the tables."""
    options = _parse_options()
    if options.worker:
        report_result(_measure_engine(json.loads(options.worker)))
        return
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as scratch:
        os.environ |= row_source(options.mirror, Path(scratch))
        model = _prepare_model(options.shape, Path(scratch))
        arguments = {"pretrained": str(model), "dtype": options.dtype, "max_model_len": 2048}
        arguments |= {"load_format": "dummy"} if options.shape else {}
        arguments |= {} if options.gpu else {"enforce_eager": True}
        job = {"arguments": arguments, "documents": options.documents, "stock_documents": options.stock_documents}
        blocks = options.blocks or ([16] if options.gpu else [32, 64, 128])
        stock = _run_engine(job | {"engine": "vllm"})
        fin_vllm = {block: _run_engine(job | {"engine": "fin_vllm", "block": block}) for block in blocks}
    _print_tables(options, stock, fin_vllm)


def _parse_options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this size instead of the demo model")
    parser.add_argument("--gpu", action="store_true", help="no eager mode, vLLM's own block size")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--documents", type=int, default=48, help="documents per task (default 48)")
    parser.add_argument("--stock-documents", type=int, default=24, help="of these, for lm-eval's engine (default 24)")
    parser.add_argument("--blocks", type=int, nargs="*", help="cache block sizes to compare")
    add_mirror_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _prepare_model(shape: str | None, scratch: Path) -> Path:
    """The demo model, or the configuration and tokenizer of a model whose weights vLLM makes up."""
    from fin_plugins.demo import demo_model

    if shape is None:
        return demo_model()
    from transformers import AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(demo_model())
    tokenizer.save_pretrained(scratch / shape)
    config = LlamaConfig(
        **SHAPES[shape],
        num_key_value_heads=8,
        vocab_size=128256,  # Llama 3's: lm-eval's engine computes the full vocabulary at every position
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(scratch / shape)
    return scratch / shape


def _run_engine(job: dict[str, Any]) -> dict[str, Any]:
    """Measure one engine in its own process."""
    print_progress(job["engine"] + (f" block {job['block']}" if "block" in job else ""))
    env = {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    cache = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "2")
    return run_worker(__file__, job, {**env, "VLLM_CPU_KVCACHE_SPACE": cache})


def _measure_engine(job: dict[str, Any]) -> dict[str, Any]:
    import lm_eval.models  # noqa: F401 (registers lm-eval's own classes)
    from lm_eval.api.registry import get_model

    from fin_plugins.lm_eval_hook import register_models
    from fin_plugins.tasks.task_requests import build_requests

    register_models()

    arguments = job["arguments"] | ({"block_size": job["block"]} if "block" in job else {})
    start = time.perf_counter()
    lm = get_model(job["engine"])(**arguments)
    figures: dict[str, Any] = {"start": time.perf_counter() - start, "tasks": {}, "labels": {}}
    modes = ["exact"] if job["engine"] == "vllm" else ["bare", "exact", "prune"]
    count = job["stock_documents"] if job["engine"] == "vllm" else job["documents"]
    for task in TASKS:
        requests = build_requests(lm, task, count)
        figures["tasks"][task] = {mode: _measure_scoring(lm, requests, mode) for mode in modes}
    for labels in LABELS:  # of the last task, with its first labels only
        documents = job["stock_documents"] // 3
        subset = [request for request in requests if request.idx < labels and request.doc_id < documents]
        figures["labels"][labels] = {mode: _measure_scoring(lm, subset, mode) for mode in modes}
    figures["mib"] = total_peak_memory()
    return figures


def _measure_scoring(lm: Any, requests: list[Any], mode: str) -> dict[str, float]:
    """Seconds (including tokenising) and inner nodes per document.

    The first `exact` of an engine includes a one-time compilation inside vLLM (2 s here).
    """
    documents = len({request.doc_id for request in requests})
    lm.prune = mode == "prune"
    lm.query_counts = {"documents": 0, "nodes": 0}
    lm.model.reset_prefix_cache()
    start = time.perf_counter()
    if mode == "bare":
        _prefill(lm, requests)
    else:
        lm.loglikelihood(requests, disable_tqdm=True)
    seconds = time.perf_counter() - start
    return {"seconds": seconds / documents, "inner": lm.query_counts["nodes"] / documents - 1, "documents": documents}


def _prefill(lm: Any, requests: list[Any]) -> None:
    """Generate one token from each document's prompt: the least work that any scoring must do."""
    from vllm import SamplingParams

    prompts = lm.tok_encode(sorted({request.args[0] for request in requests}))
    lm.generate_tokens(prompts, [SamplingParams(temperature=0, max_tokens=1)] * len(prompts))


def _print_tables(options: argparse.Namespace, stock: dict[str, Any], fin_vllm: dict[int, dict[str, Any]]) -> None:
    print(f"\n{options.shape or 'SmolLM2-135M-Instruct'}, {options.dtype}, {os.environ['FIN_DATA']} rows\n")
    columns = ["task", "block", "lm-eval vllm", "exact", "ratio", "prune", "ratio", "bare prefill", "prune / bare"]
    print_row(*columns, "inner nodes")
    print_row(*["---"] * 10)
    for task in TASKS:
        reference = stock["tasks"][task]["exact"]["seconds"]
        for block, figures in fin_vllm.items():
            modes = figures["tasks"][task]
            exact, prune, bare = (modes[mode]["seconds"] for mode in ("exact", "prune", "bare"))
            print_row(
                *(task, block, _format_ms(reference)),
                *(_format_ms(exact), f"{reference / exact:.1f}"),
                *(_format_ms(prune), f"{reference / prune:.1f}"),
                *(_format_ms(bare), f"{prune / bare:.1f}"),
                f"{modes['prune']['inner']:.1f} of {modes['exact']['inner']:.1f}",
            )
    print("\nMilliseconds per document; inner nodes per document with pruning, of those without.\n")
    block, figures = next(iter(fin_vllm.items()))
    print_row(f"labels of fin_finred (block {block})", "lm-eval vllm", "exact", "prune")
    print_row(*["---"] * 4)
    for labels in map(str, LABELS):
        modes = figures["labels"][labels]
        columns = [stock["labels"][labels]["exact"], modes["exact"], modes["prune"]]
        print_row(labels, *(_format_ms(mode["seconds"]) for mode in columns))
    print(f"\nPeak memory of both processes, MiB: lm-eval vllm {stock['mib']:,.0f}", end="")
    print("".join(f", fin_vllm with blocks of {block} {figures['mib']:,.0f}" for block, figures in fin_vllm.items()))


def _format_ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"


if __name__ == "__main__":
    main()
