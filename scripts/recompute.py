"""Recompute every metric of the fin tasks from lm-eval's sample files with scikit-learn; compare with its result files.

    .venv/bin/python scripts/recompute.py RESULTS_FOLDER

Reads only the model's answers (`filtered_resps`) and the rows' labels, nothing that our metrics wrote. The exit status
is 1 if a figure differs by more than 1e-9.
"""

import json
import sys
from pathlib import Path

from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING, parse_label

TOLERANCE = 1e-9


def answered_labels(rows: list[dict], generative: bool) -> list[int]:
    """Index of the label that the model answered in each row; negative if none."""
    if generative:
        return [
            parse_label(row["filtered_resps"][0], row["doc"]["choices"], row["doc"].get("aliases") or ())
            for row in rows
        ]
    likelihoods = [[float(likelihood) for likelihood, _ in row["filtered_resps"]] for row in rows]
    return [values.index(max(values)) for values in likelihoods]


def recompute(rows: list[dict], generative: bool) -> dict[str, float]:
    """Accuracy, weighted and macro F1 over all labels, MCC; for generative tasks also missing and ambiguous rates."""
    labels = rows[0]["doc"]["choices"]
    answers = answered_labels(rows, generative)
    names = [labels[answer] if answer >= 0 else "no label" for answer in answers]
    gold = [row["doc"]["label"] for row in rows]
    scores = {
        "acc": accuracy_score(gold, names),
        "weighted_f1": f1_score(gold, names, labels=labels, average="weighted", zero_division=0),
        "macro_f1": f1_score(gold, names, labels=labels, average="macro", zero_division=0),
        "mcc": matthews_corrcoef(gold, names),
    }
    if generative:
        scores["missing"] = answers.count(MISSING) / len(answers)
        scores["ambiguous"] = answers.count(AMBIGUOUS) / len(answers)
    return scores


def check(results: Path) -> tuple[int, list[str]]:
    """Compare a `results_*.json` with its sample files; returns the number of compared figures and the differences."""
    stamp = results.stem.removeprefix("results_")
    reported = json.loads(results.read_text(encoding="utf-8"))["results"]
    compared, differences = 0, []
    for file in sorted(results.parent.glob(f"samples_fin_*_{stamp}.jsonl")):
        task = file.stem.removeprefix("samples_").removesuffix(f"_{stamp}")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for metric, value in recompute(rows, task.endswith("_gen")).items():
            compared += 1
            figure = reported[task][f"{metric},none"]
            if abs(figure - value) > TOLERANCE:
                differences.append(f"{task} {metric}: reported {figure!r}, recomputed {value!r}")
    return compared, differences


def main() -> int:
    """Check every result file below the folder named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    compared, differences = 0, []
    for results in sorted(Path(sys.argv[1]).rglob("results_*.json")):
        count, mismatches = check(results)
        compared, differences = compared + count, differences + mismatches
    print(*differences, sep="\n")
    print(f"{compared} figures compared with scikit-learn's, {len(differences)} differ by more than {TOLERANCE}")
    return int(bool(differences) or not compared)


if __name__ == "__main__":
    sys.exit(main())
