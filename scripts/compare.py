"""What an adapter gained over its base, from the sample files of `fin eval` or `lm_eval`, with paired intervals.

    .venv/bin/python scripts/compare.py RESULTS_FOLDER

Pairs every adapter in the folder with the base on the same task, document by document (`doc_hash`). Prints a table in
Markdown: both F1s in %, the gain, its 95 % interval by the paired bootstrap (10,000 draws), and
what always answering the commonest label scores.
"""

import json
import sys
from pathlib import Path

from fin_plugins.stats.metrics import majority_floor
from fin_plugins.stats.paired_tests import PairedComparison, compare

Answers = dict[str, tuple[int, int]]
"""Gold label and answer by document."""

HEAD = """\
| task | rows | adapter | metric | floor | base | adapter | gain | 95 % interval |
|---|---:|---|---|---:|---:|---:|---:|---|"""


def answers(file: Path) -> tuple[Answers, int]:
    """Each document's gold label and answer, and the number of labels, of a likelihood task."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = {}
    for row in rows:
        likelihoods = [float(likelihood) for likelihood, _ in row["filtered_resps"]]
        found[row["doc_hash"] + str(row["doc_id"])] = (row["doc"]["gold"], likelihoods.index(max(likelihoods)))
    return found, len(rows[0]["doc"]["choices"])


def runs(folder: Path) -> dict[tuple[str, str], Path]:
    """Sample files by task and adapter; the base's under the empty name."""
    found = {}
    for results in sorted(folder.rglob("results_*.json")):
        arguments = json.loads(results.read_text(encoding="utf-8"))["config"]["model_args"]
        name = arguments.get("adapter_name") or arguments.get("peft") or arguments.get("lora_local_path") or ""
        stamp = results.stem.removeprefix("results_")
        for file in results.parent.glob(f"samples_*_{stamp}.jsonl"):
            found[file.stem.removeprefix("samples_").removesuffix(f"_{stamp}"), str(name)] = file
    return found


def lines(task: str, adapter: str, base: Path, other: Path) -> list[str]:
    """The table's lines for one adapter on one task."""
    (first, labels), (second, _) = answers(base), answers(other)
    common = sorted(first.keys() & second.keys())
    if len(common) != len(first) or len(common) != len(second):
        sys.exit(f"{task}: {other} has other documents than {base}: run both on the same rows")
    gold = [first[document][0] for document in common]
    floor = majority_floor(gold, labels)
    found = compare(gold, [first[one][1] for one in common], [second[one][1] for one in common], labels)
    head = f"| `{task}` | {len(common)} | `{adapter}` |"
    return [f"{head} {row(found, metric, floor)}" for metric in ("macro_f1", "weighted_f1")]


def row(found: PairedComparison, metric: str, floor: object) -> str:
    """One metric's figures."""
    scores = (floor, found.first, found.second)
    plain = " | ".join(f"{100 * getattr(one, metric):.1f}" for one in scores)
    gain, low, high = (100 * getattr(one, metric) for one in (found.difference, found.low, found.high))
    return f"`{metric}` | {plain} | **{gain:+.1f}** | {low:+.1f} to {high:+.1f} |"


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = runs(Path(sys.argv[1]))
    print(HEAD)
    for (task, adapter), file in sorted(found.items()):
        if adapter and (task, "") in found:
            print("\n".join(lines(task, adapter, found[task, ""], file)))


if __name__ == "__main__":
    main()
