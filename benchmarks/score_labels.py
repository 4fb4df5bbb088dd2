"""`fin_vllm` against lm-eval's `vllm`: seconds a document, peak memory, inner nodes, block sizes, number of labels.

    python benchmarks/score_labels.py                     # the demo model, two cores: about 25 minutes
    python benchmarks/score_labels.py --shape 8b --gpu    # random weights at 8B shape, on a GPU

Every engine has a process of its own, one at a time. The prefix cache is emptied before each measurement. Rows are real
with `--mirror` (or FIN_DATA=real, where they were fetched), embedded ones otherwise; the table says which.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import aside, peak, row, row_source, tell

TASKS = ("fin_fpb", "fin_fomc", "fin_argument", "fin_finred")
LABELS = (2, 3, 5, 8, 12, 16, 20, 24, 29)
SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
}


def main() -> None:
    """Measure and print the tables."""
    options = _options()
    if options.worker:
        tell(_work(json.loads(options.worker)))
        return
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as scratch:
        os.environ |= row_source(options.mirror, Path(scratch))
        model = _model(options.shape, Path(scratch))
        arguments = {"pretrained": str(model), "dtype": options.dtype, "max_model_len": 2048}
        arguments |= {"load_format": "dummy"} if options.shape else {}
        arguments |= {} if options.gpu else {"enforce_eager": True}
        job = {"arguments": arguments, "documents": options.documents, "seen": options.stock_documents}
        blocks = options.blocks or ([16] if options.gpu else [32, 64, 128])
        stock = _run(job | {"engine": "vllm"})
        ours = {block: _run(job | {"engine": "fin_vllm", "block": block}) for block in blocks}
    _print_tables(options, stock, ours)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this size instead of the demo model")
    parser.add_argument("--gpu", action="store_true", help="no eager mode, vLLM's own block size")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--documents", type=int, default=48, help="documents a task (default 48)")
    parser.add_argument("--stock-documents", type=int, default=24, help="of these, for lm-eval's way (default 24)")
    parser.add_argument("--blocks", type=int, nargs="*", help="cache block sizes to compare")
    parser.add_argument("--mirror", type=Path, default=os.environ.get("FIN_TEST_MIRROR"), help="raw data")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _model(shape: str | None, scratch: Path) -> Path:
    from fin_plugins.demo import demo_model

    if shape is None:
        return demo_model()
    from transformers import AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(demo_model())
    tokenizer.save_pretrained(scratch / shape)
    config = LlamaConfig(
        **SHAPES[shape],
        num_key_value_heads=8,
        vocab_size=128256,  # Llama 3's: the vocabulary is what lm-eval's way computes at every position
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(scratch / shape)
    return scratch / shape


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """One engine in a process of its own."""
    print(f"… {job['engine']}{' block ' + str(job['block']) if 'block' in job else ''}", file=sys.stderr, flush=True)
    env = {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    cache = os.environ.get("VLLM_CPU_KVCACHE_SPACE", "2")
    return aside(__file__, job, {**env, "VLLM_CPU_KVCACHE_SPACE": cache})


def _work(job: dict[str, Any]) -> dict[str, Any]:
    import lm_eval.models  # noqa: F401 (registers lm-eval's own classes)
    from lm_eval.api.registry import get_model

    from fin_plugins.lm_eval_hook import register_models
    from fin_plugins.tasks.task_requests import build_requests

    register_models()

    arguments = job["arguments"] | ({"block_size": job["block"]} if "block" in job else {})
    start = time.perf_counter()
    lm = get_model(job["engine"])(**arguments)
    measured: dict[str, Any] = {"start": time.perf_counter() - start, "tasks": {}, "labels": {}}
    modes = ["exact"] if job["engine"] == "vllm" else ["bare", "exact", "prune"]
    count = job["seen"] if job["engine"] == "vllm" else job["documents"]
    for task in TASKS:
        requests = build_requests(lm, task, count)
        measured["tasks"][task] = {mode: _measure(lm, requests, mode) for mode in modes}
    for labels in LABELS:
        some = [request for request in requests if request.idx < labels and request.doc_id < job["seen"] // 3]
        measured["labels"][labels] = {mode: _measure(lm, some, mode) for mode in modes}
    measured["mib"] = peak()
    return measured


def _measure(lm: Any, requests: list[Any], mode: str) -> dict[str, float]:
    """Seconds a document, tokenising included, and inner nodes a document.

    An engine's first `exact` also pays for a compilation inside vLLM, once in its life (2 s here): it is not left out.
    """
    documents = len({request.doc_id for request in requests})
    score: Callable[[], object] = lambda: lm.loglikelihood(requests, disable_tqdm=True)  # noqa: E731
    if mode == "bare":
        score = lambda: _bare(lm, requests)  # noqa: E731
    lm.prune = mode == "prune"
    lm.query_counts = {"documents": 0, "nodes": 0}
    lm.model.reset_prefix_cache()
    start = time.perf_counter()
    score()
    seconds = time.perf_counter() - start
    return {"seconds": seconds / documents, "inner": lm.query_counts["nodes"] / documents - 1, "documents": documents}


def _bare(lm: Any, requests: list[Any]) -> None:
    """One token generated from each document's prompt: the least that any scoring must do."""
    from vllm import SamplingParams

    prompts = lm.tok_encode(sorted({request.args[0] for request in requests}))
    lm._model_generate(prompts, generate=True, sampling_params=SamplingParams(temperature=0, max_tokens=1))


def _print_tables(options: argparse.Namespace, stock: dict[str, Any], ours: dict[int, dict[str, Any]]) -> None:
    print(f"\n{options.shape or 'SmolLM2-135M-Instruct'}, {options.dtype}, {os.environ['FIN_DATA']} rows\n")
    row(
        "task",
        "block",
        "lm-eval vllm",
        "exact",
        "ratio",
        "prune",
        "ratio",
        "bare prefill",
        "prune / bare",
        "inner nodes",
    )
    row(*["---"] * 10)
    for task in TASKS:
        theirs = stock["tasks"][task]["exact"]["seconds"]
        for block, result in ours.items():
            exact, prune, bare = (result["tasks"][task][mode] for mode in ("exact", "prune", "bare"))
            took = [exact["seconds"], prune["seconds"], bare["seconds"]]
            ratios = [f"{theirs / took[0]:.1f}", f"{theirs / took[1]:.1f}", f"{took[1] / took[2]:.1f}"]
            nodes = f"{prune['inner']:.1f} of {exact['inner']:.1f}"
            row(
                task,
                block,
                _ms(theirs),
                _ms(took[0]),
                ratios[0],
                _ms(took[1]),
                ratios[1],
                _ms(took[2]),
                ratios[2],
                nodes,
            )
    print("\nMilliseconds a document; inner nodes a document with prune and without.\n")
    block, best = next(iter(ours.items()))
    row(f"labels of fin_finred (block {block})", "lm-eval vllm", "exact", "prune")
    row(*["---"] * 4)
    for labels in map(str, LABELS):
        took = best["labels"][labels]
        row(
            labels, *(_ms(mode["seconds"]) for mode in (stock["labels"][labels]["exact"], took["exact"], took["prune"]))
        )
    print(f"\nPeak memory of both processes, MiB: lm-eval vllm {stock['mib']:,.0f}", end="")
    print("".join(f", fin_vllm with blocks of {block} {result['mib']:,.0f}" for block, result in ours.items()))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"


if __name__ == "__main__":
    main()
