"""Recompute every fin metric from lm-eval's sample files with scikit-learn, and compare with its result file.

    .venv/bin/python scripts/recompute.py RESULTS_FOLDER

Reads what the model answered (`filtered_resps`) and the row's own label, nothing that our metrics wrote. Exit status 1
where a figure differs by more than 1e-9.
"""

import json
import sys
from pathlib import Path

from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING, parse_label

TOLERANCE = 1e-9


def answers(rows: list[dict], generated: bool) -> list[int]:
    """The label index that each row's answer stands for; negative for none."""
    if generated:
        return [
            parse_label(row["filtered_resps"][0], row["doc"]["choices"], row["doc"].get("aliases") or ())
            for row in rows
        ]
    likelihoods = [[float(likelihood) for likelihood, _ in row["filtered_resps"]] for row in rows]
    return [values.index(max(values)) for values in likelihoods]


def recompute(rows: list[dict], generated: bool) -> dict[str, float]:
    """Accuracy, weighted and macro F1 over the full label set, MCC, and for replies the missing and ambiguous rates."""
    labels = rows[0]["doc"]["choices"]
    found = answers(rows, generated)
    names = [labels[answer] if answer >= 0 else "no label" for answer in found]
    gold = [row["doc"]["label"] for row in rows]
    scores = {
        "acc": accuracy_score(gold, names),
        "weighted_f1": f1_score(gold, names, labels=labels, average="weighted", zero_division=0),
        "macro_f1": f1_score(gold, names, labels=labels, average="macro", zero_division=0),
        "mcc": matthews_corrcoef(gold, names),
    }
    if generated:
        scores["missing"] = found.count(MISSING) / len(found)
        scores["ambiguous"] = found.count(AMBIGUOUS) / len(found)
    return scores


def check(results: Path) -> tuple[int, list[str]]:
    """Compare one `results_*.json` with the sample files beside it: how many figures were compared, what differs."""
    stamp = results.stem.removeprefix("results_")
    reported = json.loads(results.read_text(encoding="utf-8"))["results"]
    compared, differences = 0, []
    for file in sorted(results.parent.glob(f"samples_fin_*_{stamp}.jsonl")):
        task = file.stem.removeprefix("samples_").removesuffix(f"_{stamp}")
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for metric, value in recompute(rows, task.endswith("_gen")).items():
            compared += 1
            if abs(reported[task][f"{metric},none"] - value) > TOLERANCE:
                differences.append(f"{task} {metric}: reported {reported[task][f'{metric},none']!r}, here {value!r}")
    return compared, differences


def main() -> int:
    """Check every result file below the folder given."""
    compared, differences = 0, []
    for results in sorted(Path(sys.argv[1]).rglob("results_*.json")):
        more, wrong = check(results)
        compared, differences = compared + more, differences + wrong
    print(*differences, sep="\n")
    print(f"{compared} figures compared with scikit-learn's, {len(differences)} differ by more than {TOLERANCE}")
    return int(bool(differences) or not compared)


if __name__ == "__main__":
    sys.exit(main())
