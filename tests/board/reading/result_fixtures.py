"""Result files for tests: a run made by lm-eval with a guessing model, and modified copies of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.board.board_data import Column, Entry, LoadedRuns
from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.common.locations import task_folder

STAMP = "2026-01-02T03-04-05.678901"
OURS = ("fin_fomc", "fin_deal", "fin_deal_gen")
ROWS = """\
from datasets import Dataset, DatasetDict

def load(**_):
    rows = [{"q": f"Is {n} even, or is it not?", "a": n % 2, "more": [f"{n}", f"{n + 1}"]} for n in range(8)]
    rows.append(rows[1])  # one document twice
    return DatasetDict({"test": Dataset.from_list(rows)})
"""
# As other people write tasks: no `choices` and `gold` in the document, lm-eval's own metrics.
CHOICE = """\
task: {name}
custom_dataset: !function rows.load
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{q}}}}"
doc_to_choice: {choices}
doc_to_target: a
metric_list: [{{metric: acc}}]
metadata: {{version: 3}}
"""
REPLY = """\
task: said
custom_dataset: !function rows.load
output_type: generate_until
test_split: test
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
metric_list: [{metric: exact_match}]
metadata: {version: 3}
"""

Edit = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Run:
    """A run's files."""

    folder: Path
    stamp: str

    @property
    def result(self) -> Path:
        return self.folder / f"results_{self.stamp}.json"

    def samples(self, task: str) -> Path:
        return self.folder / f"samples_{task}_{self.stamp}.jsonl"

    def data(self) -> dict[str, Any]:
        return json.loads(self.result.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def lines(self, task: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.samples(task).read_text(encoding="utf-8").splitlines()]

    def write_lines(self, task: str, lines: Sequence[dict[str, Any]]) -> None:
        self.samples(task).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def edit(self, *edits: Edit) -> "Run":
        """Change the result file."""
        data = self.data()
        for change in edits:
            change(data)
        self.result.write_text(json.dumps(data), encoding="utf-8")
        return self

    def edit_lines(self, task: str, change: Edit) -> "Run":
        """Change every line of a sample file."""
        lines = self.lines(task)
        for line in lines:
            change(line)
        self.write_lines(task, lines)
        return self

    def copy(self, folder: Path, *edits: Edit, stamp: str = STAMP, tasks: Sequence[str] = OURS) -> "Run":
        """A modified copy of the run with these tasks only."""

        def only_these(data: dict[str, Any]) -> None:
            for part in ("results", "configs", "versions", "n-shot", "n-samples", "task_hashes"):
                data[part] = {name: value for name, value in data[part].items() if name in tasks}

        folder.mkdir(parents=True, exist_ok=True)
        copied = Run(folder, stamp)
        copied.result.write_bytes(self.result.read_bytes())
        for task in tasks:
            copied.samples(task).write_bytes(self.samples(task).read_bytes())
        return copied.edit(only_these, *edits)


def model(**arguments: Any) -> Edit:
    """Change the model of the run."""
    return lambda data: data["config"].update(model="vllm", model_args=arguments)


def config(task: str, **changes: Any) -> Edit:
    """Change a task's configuration."""
    return lambda data: data["configs"][task].update(changes)


def fin(task: str, **changes: Any) -> Edit:
    """Change the `fin` metadata in a task's configuration."""
    return lambda data: data["configs"][task]["metadata"]["fin"].update(changes)


def make_run(root: Path) -> Run:
    """Run lm-eval with a guessing model on our embedded rows and on tasks of others. FIN_DATA must be `sample`."""
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    tasks = root / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "rows.py").write_text(ROWS)
    (tasks / "plain.yaml").write_text(CHOICE.format(name="plain", choices='["even", "odd"]'))
    (tasks / "varied.yaml").write_text(CHOICE.format(name="varied", choices="more"))
    (tasks / "said.yaml").write_text(REPLY)
    manager = TaskManager(include_path=[str(task_folder()), str(tasks)], include_defaults=False)
    tracker = EvaluationTracker(output_path=str(root / "out"))
    results = lm_eval.simple_evaluate(
        model="dummy",
        tasks=[*OURS, "plain", "varied", "said"],
        task_manager=manager,
        evaluation_tracker=tracker,
        bootstrap_iters=0,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    (file,) = (root / "out").rglob("results_*.json")
    return Run(file.parent, file.stem.removeprefix("results_"))


def columns(reading: LoadedRuns) -> dict[str, Column]:
    return {column.key: column for column in reading.columns}


def entry(root: Path, key: str = "fin_fomc", **options: Any) -> Entry:
    """The only entry of a column."""
    (only_entry,) = columns(load_runs([root], **options))[key].entries
    return only_entry


def messages(reading: LoadedRuns) -> list[str]:
    """Problems as text; errors begin with `! `."""
    return [f"{'! ' if problem.is_error else ''}{problem.file}: {problem.message}" for problem in reading.problems]
