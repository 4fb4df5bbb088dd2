"""Greedy replies of `fin_hf` against lm-eval's `hf`: alone, and from the pass that scores the same prompt's labels.

    python benchmarks/replies.py                     # the demo model on a CPU, one thread
    python benchmarks/replies.py --batches 4 8 16 32 --ways labels both     # find the best batch size

Each configuration runs in its own process, one at a time, in turns over the rounds; figures are medians. On a CPU they
are CPU time, because wall time depends on other load; on a GPU (`--device cuda`) they are wall time. Rows are real with
`--mirror` (or FIN_DATA=real after `fin data fetch`), otherwise the embedded ones.
"""

import argparse
import json
import os
import statistics
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

TASKS = ("fin_fpb", "fin_deal", "fin_finred")
WAYS = {
    "hf": "lm-eval `hf`, replies",
    "replies": "`fin_hf`, replies",
    "labels": "`fin_hf`, labels",
    "both": "`fin_hf`, both",
}


def main() -> None:
    """Measure and print the table."""
    options = _parse_options()
    if options.worker:
        report_result(_answer_tasks(json.loads(options.worker)))
        return
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as scratch:
        os.environ |= row_source(options.mirror, Path(scratch))
        _print_tables(options, _measure(options))


def _parse_options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--batches", type=int, nargs="*", default=[8], help="batch sizes (default 8)")
    parser.add_argument("--documents", type=int, default=48, help="documents per task (default 48)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--adapter", help="folder of a LoRA adapter of the demo model, used throughout")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    add_mirror_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace) -> dict[tuple[str, int], list[dict[str, Any]]]:
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for batch in options.batches:
            for way in options.ways:
                job = {"way": way, "batch": batch, "documents": options.documents}
                job |= {"device": options.device, "dtype": options.dtype, "adapter": options.adapter}
                print_progress(f"{way}, batches of {batch}")
                # One thread, because threads waiting for each other count as CPU time.
                env = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
                runs.setdefault((way, batch), []).append(run_worker(__file__, job, env))
    return runs


def _answer_tasks(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds per document and replies of each task, and peak memory."""
    from lm_eval.models.huggingface import HFLM

    from fin_plugins.demo import demo_model
    from fin_plugins.scoring.fin_hf import FinHF
    from fin_plugins.tasks.task_requests import build_requests

    model_class = HFLM if job["way"] == "hf" else FinHF
    adapter = {"peft": job["adapter"]} if job["adapter"] else {}
    settings = {"dtype": job["dtype"], "device": job["device"], "batch_size": job["batch"], **adapter}
    lm = model_class(pretrained=str(demo_model()), **settings)
    clock = time.process_time if job["device"] == "cpu" else time.perf_counter
    warm_up = (build_requests(lm, TASKS[0] + suffix, 1) for suffix in ("", "_gen"))
    _answer(lm, job["way"], *warm_up)  # one-time checks of the model are not timed
    seconds: dict[str, float] = {}
    texts: dict[str, list[str]] = {}
    for task in TASKS:
        labels, replies = (build_requests(lm, task + suffix, job["documents"]) for suffix in ("", "_gen"))
        start = clock()
        texts[task] = _answer(lm, job["way"], labels, replies)
        seconds[task] = (clock() - start) / len(replies)
    return {"seconds": seconds, "mib": total_peak_memory(), "texts": texts}


def _answer(lm: Any, way: str, labels: list[Any], replies: list[Any]) -> list[str]:
    if way == "both":
        lm.expect_replies(replies)
    if way in ("labels", "both"):
        lm.loglikelihood(labels, disable_tqdm=True)
    return [] if way == "labels" else lm.generate_until(replies, disable_tqdm=True)


def _print_tables(options: argparse.Namespace, runs: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    rows = f"{options.documents} {os.environ['FIN_DATA']} rows"
    model = f"SmolLM2-135M-Instruct{' and an adapter' if options.adapter else ''}"
    print(f"\n{model}, {options.dtype}, {rows} per task, ms per document\n")
    print_row("engine", "batch", *TASKS, "peak MiB")
    print_row(*["---"] * (len(TASKS) + 3))
    medians = {key: _medians(repeats) for key, repeats in runs.items()}
    for (way, batch), (seconds, mib) in medians.items():
        print_row(WAYS[way], batch, *(f"{seconds[task] * 1000:,.0f}" for task in TASKS), f"{mib:,.0f}")
    for batch in options.batches:
        if all((way, batch) in medians for way in WAYS):
            hf, replies, labels, both = (medians[way, batch][0] for way in WAYS)
            print_row("hf ÷ fin_hf, replies", batch, *(f"{hf[task] / replies[task]:.1f}" for task in TASKS), "")
            separate = {task: labels[task] + hf[task] for task in TASKS}
            print_row("(labels + hf) ÷ both", batch, *(f"{separate[task] / both[task]:.1f}" for task in TASKS), "")
            texts = [runs[way, batch][0]["texts"] for way in ("hf", "both")]
            identical = [sum(map(str.__eq__, *(text[task] for text in texts))) for task in TASKS]
            print_row("same replies as `hf`", batch, *identical, "")


def _medians(runs: list[dict[str, Any]]) -> tuple[dict[str, float], float]:
    seconds = {task: statistics.median(run["seconds"][task] for run in runs) for task in TASKS}
    return seconds, statistics.median(run["mib"] for run in runs)


if __name__ == "__main__":
    main()
