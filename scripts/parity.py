"""Do `fin_vllm` and `fin_hf` score as lm-eval's own classes do? Real rows, the demo model, every answer compared.

    python scripts/parity.py --keep parity/        # about an hour on two cores; a killed run goes on where it was

Each class and dtype scores the same documents in a process of its own; answers are kept in the folder, so that a
comparison can be looked at or repeated. Exit status 1 where a promise is broken: in float32 every log-likelihood within
1e-4 nats and the same decision on every document; in bfloat16 the same decision on 99.5 % of the documents.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fin_plugins.common.atomic import write_file

SHORT = ("fin_fpb", "fin_headline", "fin_fomc", "fin_argument")
LONG = "fin_finred"  # 29 labels: lm-eval's own way takes seconds a document
PAIRS = [
    ("fin_vllm", "vllm", "float32"),
    ("fin_vllm", "vllm", "bfloat16"),
    ("fin_hf", "hf", "float32"),
    ("fin_hf", "hf", "bfloat16"),
    ("fin_vllm", "fin_hf", "float32"),
]
TOLERANCE = 1e-4  # nats
SAME_DECISION = {"float32": 1.0, "bfloat16": 0.995}
Answers = dict[str, list[list[tuple[float, bool]]]]
"""Task to documents to labels' (log-likelihood, is greedy)."""


def main() -> None:
    """Score what is missing, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="folder for the answers")
    parser.add_argument("--short", type=int, default=200, help="documents of each task with few labels (default 200)")
    parser.add_argument("--long", type=int, default=30, help="documents of fin_finred (default 30)")
    parser.add_argument("--only", nargs="*", help="compare only pairs with these classes, for example: vllm")
    parser.add_argument("--dtypes", nargs="*", default=list(SAME_DECISION), choices=SAME_DECISION)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, dtype, file = options.worker
        write_file(Path(file), json.dumps(_score(name, dtype, options.short, options.long)))
        return
    options.keep.mkdir(parents=True, exist_ok=True)
    pairs = [
        pair for pair in PAIRS if pair[2] in options.dtypes and (not options.only or set(options.only) & set(pair))
    ]
    answers = {(name, dtype): _answers(options, name, dtype) for *names, dtype in pairs for name in names}
    print("| ours | beside | dtype | task | documents | largest difference, nats | other decision | other greedy |")
    print("|---|---|---|---|---:|---:|---:|---:|")
    kept = [
        _compare(ours, theirs, dtype, answers[ours, dtype], answers[theirs, dtype]) for ours, theirs, dtype in pairs
    ]
    sys.exit(not all(kept))


def _answers(options: argparse.Namespace, name: str, dtype: str) -> Answers:
    file = (options.keep / f"{name}-{dtype}-{options.short}-{options.long}.json").resolve()
    if not file.is_file():
        print(f"… {name} {dtype}", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--keep", options.keep, "--worker", name, dtype, file]
        command += ["--short", str(options.short), "--long", str(options.long)]
        quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false", "VLLM_CPU_KVCACHE_SPACE": "2"}
        subprocess.run(list(map(str, command)), env={**os.environ, **quiet}, check=True, stdout=subprocess.DEVNULL)
    answers: Answers = json.loads(file.read_text(encoding="utf-8"))
    return answers


def _score(name: str, dtype: str, short: int, long: int) -> Answers:
    import lm_eval.models  # noqa: F401 (registers lm-eval's own classes)
    from lm_eval.api.registry import get_model

    from fin_plugins.demo import demo_model
    from fin_plugins.lm_eval_hook import register_models
    from fin_plugins.tasks.task_requests import build_requests

    register_models()
    engine = {"max_model_len": 2048, "enforce_eager": True} if "vllm" in name else {"batch_size": 8, "device": "cpu"}
    lm = get_model(name)(pretrained=str(demo_model()), dtype=dtype, **engine)
    wanted = {**dict.fromkeys(SHORT, short), LONG: long}
    return {task: _documents(lm, build_requests(lm, task, count)) for task, count in wanted.items()}


def _documents(lm: Any, requests: list[Any]) -> list[list[tuple[float, bool]]]:
    documents: dict[int, list[tuple[float, bool]]] = {}
    for request, answer in zip(requests, lm.loglikelihood(requests), strict=True):
        documents.setdefault(request.doc_id, []).append(answer)
    return list(documents.values())


def _compare(ours: str, theirs: str, dtype: str, mine: Answers, others: Answers) -> bool:
    kept, total, same = True, 0, 0
    for task, documents in mine.items():
        paired = list(zip(documents, others[task], strict=True))
        apart = max(abs(a[0] - b[0]) for doc, other in paired for a, b in zip(doc, other, strict=True))
        greedy = sum(a[1] != b[1] for doc, other in paired for a, b in zip(doc, other, strict=True))
        decided = [(_decision(doc), _decision(other)) for doc, other in paired]
        differing = [number for number, (a, b) in enumerate(decided) if a != b]
        print(f"| {ours} | {theirs} | {dtype} | {task} | {len(paired)} | {apart:.1e} | {len(differing)} | {greedy} |")
        for number in differing:
            gaps = [f"{_gap(doc):.3f}" for doc in paired[number]]
            print(f"|  |  |  | document {number}: labels {decided[number]}, lead over the second {gaps} nats | | | | |")
        total, same = total + len(paired), same + len(paired) - len(differing)
        same_engine = theirs in ours  # between two engines, only decisions are promised
        kept = kept and (apart <= TOLERANCE or dtype != "float32" or not same_engine)
    return kept and same >= SAME_DECISION[dtype] * total


def _decision(document: list[tuple[float, bool]]) -> int:
    scores = [score for score, _ in document]
    return scores.index(max(scores))


def _gap(document: list[tuple[float, bool]]) -> float:
    best, second = sorted((score for score, _ in document), reverse=True)[:2]
    return best - second


if __name__ == "__main__":
    main()
