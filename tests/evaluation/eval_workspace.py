"""`fin eval` in this process on tiny real models, with an engine that logs its requests."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fin_plugins.common.locations import task_folder
from fin_plugins.evaluation.eval_command import parse_command, split_flags
from fin_plugins.evaluation.eval_run import run_evaluation
from tests.evaluation.factories import adapter

TASKS = ("first", "second", "reply")
CHOICE = """\
include: {shared}
task: {name}
custom_dataset: !function rows.load
fewshot_split: train
doc_to_text: "{instruction} {{{{text}}}}\\n"
metadata: {{version: 1.0}}
"""
GENERATION = """\
task: {name}
custom_dataset: !function rows.load
output_type: generate_until
test_split: test
fewshot_split: train
doc_to_text: "{instruction} {{{{text}}}}\\n"
doc_to_target: "{{{{choices[gold]}}}}"
gen_prefix: "label:"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 3, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""
ROWS = """\
import json
from pathlib import Path
import datasets

def load(**_):
    lines = Path(__file__).with_name("rows.jsonl").read_text().splitlines()
    rows = datasets.Dataset.from_list([json.loads(line) for line in lines])
    return datasets.DatasetDict({"test": rows, "train": rows})
"""
GROUP = "group: both\ntask: [first, second]\naggregate_metric_list: [{metric: acc, weight_by_size: false}]\n"


@dataclass
class EngineLog:
    """Calls of an engine: model and task of each, in order; and actions to take at a call."""

    units: list[str] = field(default_factory=list)
    starts: int = 0
    fail_at: int | None = None
    meanwhile: dict[int, Callable[[], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalWorkspace:
    """A folder with a base model, two adapters, tasks and an output folder."""

    root: Path

    @property
    def base(self) -> Path:
        return self.root / "base"

    @property
    def output(self) -> Path:
        return self.root / "out"

    def adapter(self, name: str) -> Path:
        return self.root / "adapters" / name

    def flags(self, *names: str) -> list[str]:
        """`--adapter` flags for these adapters, by default for both."""
        return [word for name in names or ("one", "two") for word in ("--adapter", f"{name}={self.adapter(name)}")]

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "tasks" / "rows.jsonl").read_text().splitlines()]

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        (self.root / "tasks" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def change_row(self, **changes: Any) -> None:
        """Change the first row."""
        rows = self.rows()
        self.write_rows([{**rows[0], **changes}, *rows[1:]])

    def files(self) -> dict[str, int]:
        """All files of the output folder with their modification times."""
        return {str(file): file.stat().st_mtime_ns for file in self.output.rglob("*") if file.is_file()}

    def results(self, model: str) -> dict[str, Any]:
        """The newest result file of a model, by the end of its folder's name."""
        files = sorted(self.output.glob(f"*__{model}/results_*.json"))
        return json.loads(files[-1].read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def run(self, *more: str, tasks: str = "both,reply", log: EngineLog | None = None, **engine: Any) -> EngineLog:
        """Run `fin eval …`; `engine` adds model arguments."""
        log = log or EngineLog()
        arguments = {"pretrained": str(self.base), "dtype": "float32", **engine}
        words = [
            *("--model", "fin_hf", "--model_args", json.dumps(arguments), "--tasks", tasks),
            *("--include_path", str(self.root / "tasks"), "--device", "cpu", "--apply_chat_template"),
            *("--output_path", str(self.output), "--batch_size", "4", *more),
        ]
        command = parse_command(*split_flags(words))
        run_evaluation(command, lambda: logging_engine(log, command))
        return log


def make_workspace(root: Path, model: Path) -> EvalWorkspace:
    """Create a workspace with two adapters."""
    workspace = EvalWorkspace(root)
    shutil.copytree(model, workspace.base)
    for name, scale in (("one", 0.5), ("two", 0.6)):  # with equal content they would share answers
        adapter(workspace.adapter(name), workspace.base, scale)
    tasks = root / "tasks"
    tasks.mkdir()
    (tasks / "rows.py").write_text(ROWS)
    (tasks / "both.yaml").write_text(GROUP)
    shared = task_folder() / "fin" / "_choice"
    (tasks / "first.yaml").write_text(CHOICE.format(name="first", instruction="Up or down?", shared=shared))
    (tasks / "second.yaml").write_text(CHOICE.format(name="second", instruction="Say it:", shared=shared))
    (tasks / "reply.yaml").write_text(GENERATION.format(name="reply", instruction="Answer:"))
    texts = ["Rates rose again.", "The bank eased.", "Nothing happened.", "Prices fell a little."]
    workspace.write_rows(
        [{"text": text, "choices": ["up", "down", "no change"], "gold": i % 3} for i, text in enumerate(texts)]
    )
    return workspace


def logging_engine(log: EngineLog, command: Any) -> Any:
    """The real `fin_hf`, which logs its calls and fails at call number `log.fail_at`."""
    from fin_plugins.scoring.fin_hf import FinHF

    class LoggingHF(FinHF):
        def use_adapter(self, adapter: Any) -> None:
            self.model_in_use = adapter.name if adapter else "base"
            super().use_adapter(adapter)

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            self._log(requests)
            return super().loglikelihood(requests, disable_tqdm)

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            self._log(requests)
            return super().generate_until(requests, disable_tqdm)

        def _log(self, requests: Any) -> None:
            (task,) = {request.task_name for request in requests}
            if len(log.units) == log.fail_at:
                raise KeyboardInterrupt
            log.meanwhile.get(len(log.units), lambda: None)()
            log.units.append(f"{self.model_in_use} {task}")

    log.starts += 1
    settings = command.settings
    return LoggingHF(**command.base_arguments, batch_size=settings.batch_size, device=settings.device)
