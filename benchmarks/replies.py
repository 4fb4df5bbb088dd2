"""`fin_hf`'s greedy replies against lm-eval's `hf`: alone, and from the pass that scores the labels of the same prompt.

    python benchmarks/replies.py                     # the demo model on a CPU, one thread
    python benchmarks/replies.py --batches 4 8 16 32 --ways labels both     # which batch size is best

Every way has a process of its own, one at a time, in turns over the rounds; the figures are medians. Time is CPU time,
for on a machine that does other work too the wall clock says nothing; on a GPU (`--device cuda`) it is wall time. Rows
are real with `--mirror` (or FIN_DATA=real, where they were fetched), embedded ones otherwise.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import aside, peak, row, row_source, tell

TASKS = ("fin_fpb", "fin_deal", "fin_finred")
WAYS = {
    "hf": "lm-eval `hf`, replies",
    "replies": "`fin_hf`, replies",
    "labels": "`fin_hf`, labels",
    "both": "`fin_hf`, both",
}


def main() -> None:
    """Measure and print the table."""
    options = _options()
    if options.worker:
        tell(_work(json.loads(options.worker)))
        return
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as scratch:
        os.environ |= row_source(options.mirror, Path(scratch))
        _print_tables(options, _measure(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--batches", type=int, nargs="*", default=[8], help="batch sizes (default 8)")
    parser.add_argument("--documents", type=int, default=48, help="documents a task (default 48)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--adapter", help="folder of a LoRA adapter of the demo model, which all ways then use")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--mirror", type=Path, default=os.environ.get("FIN_TEST_MIRROR"), help="raw data")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[tuple[str, int], list[dict[str, Any]]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for batch in options.batches:
            for way in options.ways:
                job = {"way": way, "batch": batch, "documents": options.documents}
                job |= {"device": options.device, "dtype": options.dtype, "adapter": options.adapter}
                found.setdefault((way, batch), []).append(_run(job))
    return found


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """One way in a process of its own; one thread, for threads that wait for each other count as CPU time."""
    print(f"… {job['way']}, batches of {job['batch']}", file=sys.stderr, flush=True)
    return aside(__file__, job, {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})


def _work(job: dict[str, Any]) -> dict[str, Any]:
    from lm_eval.models.huggingface import HFLM

    from fin_plugins.demo import demo_model
    from fin_plugins.scoring.fin_hf import FinHF
    from fin_plugins.tasks.task_requests import build_requests

    kind = HFLM if job["way"] == "hf" else FinHF
    adapter = {"peft": job["adapter"]} if job["adapter"] else {}
    given = {"dtype": job["dtype"], "device": job["device"], "batch_size": job["batch"], **adapter}
    lm = kind(pretrained=str(demo_model()), **given)
    clock = time.process_time if job["device"] == "cpu" else time.perf_counter
    first = {name: build_requests(lm, TASKS[0] + name, 1) for name in ("", "_gen")}
    _answer(lm, job["way"], first[""], first["_gen"])  # what is tried once in a model's life
    measured: dict[str, float] = {}
    texts: dict[str, list[str]] = {}
    for task in TASKS:
        labels, replies = (build_requests(lm, task + name, job["documents"]) for name in ("", "_gen"))
        start = clock()
        texts[task] = _answer(lm, job["way"], labels, replies)
        measured[task] = (clock() - start) / len(replies)
    return {"seconds": measured, "mib": peak(), "texts": texts}


def _answer(lm: Any, way: str, labels: list[Any], replies: list[Any]) -> list[str]:
    if way == "both":
        lm.expect_replies(replies)
    if way in ("labels", "both"):
        lm.loglikelihood(labels, disable_tqdm=True)
    return [] if way == "labels" else lm.generate_until(replies, disable_tqdm=True)


def _print_tables(options: argparse.Namespace, found: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    rows = f"{options.documents} {os.environ['FIN_DATA']} rows"
    model = f"SmolLM2-135M-Instruct{' and an adapter' if options.adapter else ''}"
    print(f"\n{model}, {options.dtype}, {rows} a task, ms a document\n")
    row("way", "batch", *TASKS, "peak MiB")
    row(*["---"] * (len(TASKS) + 3))
    middle = {key: _medians(runs) for key, runs in found.items()}
    for (way, batch), (took, mib) in middle.items():
        row(WAYS[way], batch, *(f"{took[task] * 1000:,.0f}" for task in TASKS), f"{mib:,.0f}")
    for batch in options.batches:
        if all((way, batch) in middle for way in WAYS):
            hf, alone, labels, both = (middle[way, batch][0] for way in WAYS)
            row("hf ÷ fin_hf, replies", batch, *(f"{hf[task] / alone[task]:.1f}" for task in TASKS), "")
            apart = {task: labels[task] + hf[task] for task in TASKS}
            row("(labels + hf) ÷ both", batch, *(f"{apart[task] / both[task]:.1f}" for task in TASKS), "")
            texts = [found[way, batch][0]["texts"] for way in ("hf", "both")]
            same = [sum(map(str.__eq__, *(text[task] for text in texts))) for task in TASKS]
            row("same replies as `hf`", batch, *same, "")


def _medians(runs: list[dict[str, Any]]) -> tuple[dict[str, float], float]:
    seconds = {task: statistics.median(run["seconds"][task] for run in runs) for task in TASKS}
    return seconds, statistics.median(run["mib"] for run in runs)


if __name__ == "__main__":
    main()
