"""Compare every answer of `fin_vllm` and `fin_hf` with lm-eval's own classes, on real rows with the demo model.

    python scripts/parity.py --keep parity/        # about an hour on two cores; a killed run resumes

Each class and dtype scores the same documents in its own process. The folder keeps the answers, so that a comparison
can be inspected or repeated. Requirements: in float32, log-likelihoods within 1e-4 nats and the same decision on every
document; in bfloat16, the same decision on 99.5 % of the documents. The exit status is 1 if any is not met.
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
LONG = "fin_finred"  # 29 labels: lm-eval's own classes take seconds per document
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
"""Per task and document, (log-likelihood, is greedy) of each label."""


def main() -> None:
    """Score with each class, unless its answers are there already, and print the comparison as a table."""
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
    answers = {(name, dtype): _load_answers(options, name, dtype) for *names, dtype in pairs for name in names}
    print("| class | reference | dtype | task | documents | largest difference, nats | other decision | other greedy |")
    print("|---|---|---|---|---:|---:|---:|---:|")
    met = [
        _compare(name, reference, dtype, answers[name, dtype], answers[reference, dtype])
        for name, reference, dtype in pairs
    ]
    sys.exit(not all(met))


def _load_answers(options: argparse.Namespace, name: str, dtype: str) -> Answers:
    """Answers of a class from the folder; scores with it in a separate process if they are not there."""
    file = (options.keep / f"{name}-{dtype}-{options.short}-{options.long}.json").resolve()
    if not file.is_file():
        print(f"… {name} {dtype}", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--keep", options.keep, "--worker", name, dtype, file]
        command += ["--short", str(options.short), "--long", str(options.long)]
        env = {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false", "VLLM_CPU_KVCACHE_SPACE": "2"}
        subprocess.run(list(map(str, command)), env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)
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
    counts = {**dict.fromkeys(SHORT, short), LONG: long}
    return {task: _answers_by_document(lm, build_requests(lm, task, count)) for task, count in counts.items()}


def _answers_by_document(lm: Any, requests: list[Any]) -> list[list[tuple[float, bool]]]:
    documents: dict[int, list[tuple[float, bool]]] = {}
    for request, answer in zip(requests, lm.loglikelihood(requests), strict=True):
        documents.setdefault(request.doc_id, []).append(answer)
    return list(documents.values())


def _compare(name: str, reference: str, dtype: str, answers: Answers, reference_answers: Answers) -> bool:
    """Print the rows of one pair of classes; returns whether they meet the requirements."""
    within_tolerance, total, same = True, 0, 0
    for task, documents in answers.items():
        pairs = list(zip(documents, reference_answers[task], strict=True))
        labels = [label for documents in pairs for label in zip(*documents, strict=True)]
        difference = max(abs(first - second) for (first, _), (second, _) in labels)
        greedy = sum(first != second for (_, first), (_, second) in labels)
        decisions = [(_decision(first), _decision(second)) for first, second in pairs]
        differing = [number for number, (first, second) in enumerate(decisions) if first != second]
        cells = [name, reference, dtype, task, str(len(pairs)), f"{difference:.1e}", str(len(differing)), str(greedy)]
        print(f"| {' | '.join(cells)} |")
        for number in differing:
            leads = [f"{_lead(document):.3f}" for document in pairs[number]]
            print(
                f"|  |  |  | document {number}: labels {decisions[number]}, lead over the second {leads} nats | | | | |"
            )
        total, same = total + len(pairs), same + len(pairs) - len(differing)
        if dtype == "float32" and reference in name:  # between two engines, only decisions must agree
            within_tolerance = within_tolerance and difference <= TOLERANCE
    return within_tolerance and same >= SAME_DECISION[dtype] * total


def _decision(document: list[tuple[float, bool]]) -> int:
    scores = [score for score, _ in document]
    return scores.index(max(scores))


def _lead(document: list[tuple[float, bool]]) -> float:
    """Difference between the best and the second-best log-likelihood."""
    best, second = sorted((score for score, _ in document), reverse=True)[:2]
    return best - second


if __name__ == "__main__":
    main()
