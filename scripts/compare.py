"""Gain of each adapter over its base, with paired intervals, from the sample files of `fin eval` or `lm_eval`.

    .venv/bin/python scripts/compare.py RESULTS_FOLDER

Pairs every adapter in the folder with the base on the same task, document by document (`doc_hash`). Prints a Markdown
table with both F1 scores in %, the gain, its 95 % interval by the paired bootstrap (10,000 draws), and the score of
always answering the most frequent label (floor).
"""

import json
import sys
from pathlib import Path

from fin_plugins.stats.metrics import Scores, majority_floor
from fin_plugins.stats.paired_tests import PairedComparison, compare

Answers = dict[str, tuple[int, int]]
"""Gold label and answer of each document."""

HEADER = """\
| task | rows | adapter | metric | floor | base | adapter | gain | 95 % interval |
|---|---:|---|---|---:|---:|---:|---:|---|"""


def load_answers(file: Path) -> tuple[Answers, int]:
    """Answers in the sample file of a likelihood task, and the number of labels."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    answers = {}
    for row in rows:
        likelihoods = [float(likelihood) for likelihood, _ in row["filtered_resps"]]
        answers[row["doc_hash"] + str(row["doc_id"])] = (row["doc"]["gold"], likelihoods.index(max(likelihoods)))
    return answers, len(rows[0]["doc"]["choices"])


def find_sample_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Sample files by task and adapter; the base has the empty name."""
    files = {}
    for results in sorted(folder.rglob("results_*.json")):
        arguments = json.loads(results.read_text(encoding="utf-8"))["config"]["model_args"]
        name = arguments.get("adapter_name") or arguments.get("peft") or arguments.get("lora_local_path") or ""
        stamp = results.stem.removeprefix("results_")
        for file in results.parent.glob(f"samples_*_{stamp}.jsonl"):
            files[file.stem.removeprefix("samples_").removesuffix(f"_{stamp}"), str(name)] = file
    return files


def format_rows(task: str, adapter: str, base_file: Path, adapter_file: Path) -> list[str]:
    """Table rows for one adapter on one task, one per metric."""
    (base, labels), (adapted, _) = load_answers(base_file), load_answers(adapter_file)
    if base.keys() != adapted.keys():
        sys.exit(f"{task}: {adapter_file} and {base_file} have different documents: run both on the same rows")
    documents = sorted(base)
    gold = [base[document][0] for document in documents]
    floor = majority_floor(gold, labels)
    answers = ([answers[document][1] for document in documents] for answers in (base, adapted))
    comparison = compare(gold, *answers, labels)
    start = f"| `{task}` | {len(documents)} | `{adapter}` |"
    return [f"{start} {format_metric(comparison, metric, floor)}" for metric in ("macro_f1", "weighted_f1")]


def format_metric(comparison: PairedComparison, metric: str, floor: Scores) -> str:
    """Table cells of one metric."""
    scores = [100 * getattr(score, metric) for score in (floor, comparison.first, comparison.second)]
    bounds = (comparison.difference, comparison.low, comparison.high)
    gain, low, high = (100 * getattr(bound, metric) for bound in bounds)
    return (
        f"`{metric}` | {' | '.join(f'{score:.1f}' for score in scores)} | **{gain:+.1f}** | {low:+.1f} to {high:+.1f} |"
    )


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    files = find_sample_files(Path(sys.argv[1]))
    print(HEADER)
    for (task, adapter), file in sorted(files.items()):
        if adapter and (task, "") in files:
            print("\n".join(format_rows(task, adapter, files[task, ""], file)))


if __name__ == "__main__":
    main()
