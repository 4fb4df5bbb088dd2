"""A tiny base, two experts and two tasks whose gold labels are the answers of a planted merge."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from fin_plugins.cli.main import fin
from tests.merging.model_factories import make_adapter

LABELS = ("a", "b", "c", "d")
PLANTED_WEIGHTS = {"one": 0.75, "two": 0.25}
ROWS = 24
TASK = """\
task: {name}
custom_dataset: !function rows.{name}
output_type: multiple_choice
training_split: train
validation_split: validation
test_split: test
doc_to_text: "{{{{text}}}}\\n"
doc_to_choice: [a, b, c, d]
doc_to_target: gold
metadata: {{version: 1.0}}
"""
LOADER = """\
import json
from pathlib import Path
import datasets

def _load(name):
    rows = json.loads(Path(__file__).with_name("rows.json").read_text())[name]
    return datasets.DatasetDict({split: datasets.Dataset.from_list(listed) for split, listed in rows.items()})

def first(**_):
    return _load("first")

def second(**_):
    return _load("second")
"""


@dataclass(frozen=True)
class SearchWorld:
    """Folder with a base, experts, tasks, search files and studies."""

    folder: Path
    base: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Content of a search file."""
        experts = {
            name: {"path": str(self.folder / name), "tasks": [str(self.folder / f"{task}.yaml")]}
            for name, task in (("one", "first"), ("two", "second"))
        }
        return {
            "base": str(self.base),
            "experts": experts,
            "sampler": "random",
            "candidates": 3,
            "metric": "acc",
            "unlabelled": {"rows": 3},
        }

    def file(self, name: str, **settings: Any) -> Path:
        """Write a search file, with the study beside it; settings that are None are left out."""
        content = {**self.settings, "output": str(self.folder / name), **settings}
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return file

    def search(self, name: str, *flags: str, **settings: Any) -> Result:
        """Run `fin merge search`."""
        return CliRunner().invoke(fin, ["merge", "search", str(self.file(name, **settings)), *flags])

    def study(self, name: str) -> list[dict[str, Any]]:
        """The candidates of a study."""
        lines = (self.folder / name / "study.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines[2:]]


def make_search_world(folder: Path, base: Path) -> SearchWorld:
    """Two random experts, and tasks whose gold labels are the answers of the planted merge."""
    folder.mkdir()
    world = SearchWorld(folder, base)
    make_adapter(folder / "one", base, 1, r=4, lora_alpha=960)
    make_adapter(folder / "two", base, 2, r=3, lora_alpha=720, target_modules=["q_proj", "up_proj", "down_proj"])
    (folder / "rows.py").write_text(LOADER)
    texts = {split: {task: _texts(split, task) for task in ("first", "second")} for split in ("validation", "test")}
    gold = {task: planted_answers(world, listed) for task, listed in texts["validation"].items()}
    rows = {}
    for task in ("first", "second"):
        (folder / f"{task}.yaml").write_text(TASK.format(name=task))
        validation = [
            {"text": text, "gold": label} for text, label in zip(texts["validation"][task], gold[task], strict=True)
        ]
        test = [{"text": text, "gold": 0} for text in texts["test"][task]]
        rows[task] = {"train": [{"text": "train row", "gold": 1}], "validation": validation, "test": test}
    (folder / "rows.json").write_text(json.dumps(rows))
    return world


def _texts(split: str, task: str) -> list[str]:
    return [f"{split} of {task}: {number * 37 % 101}" for number in range(ROWS)]


def merge(world: SearchWorld, weights: dict[str, float], out: Path) -> Path:
    """The adapter that `fin merge` writes with these weights."""
    words = ["merge", "task_arithmetic", "--base", str(world.base), "--out", str(out), "--as-adapter"]
    for name, weight in weights.items():
        words += ["--expert", f"{name}={world.folder / name}", "--weight", f"{name}={weight}"]
    result = CliRunner().invoke(fin, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def planted_answers(world: SearchWorld, texts: Sequence[str]) -> list[int]:
    """The answer of the planted merge to each text."""
    folder = world.folder / "planted"
    return answers(world.base, folder if folder.is_dir() else merge(world, PLANTED_WEIGHTS, folder), texts)


def answers(base: Path, folder: Path | None, texts: Sequence[str]) -> list[int]:
    """The most likely label of each text, by transformers and PEFT alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, folder) if folder else model
    tokenizer = AutoTokenizer.from_pretrained(base)
    labels = []
    with torch.no_grad():
        for text in texts:
            prompt = tokenizer(f"{text}\n")["input_ids"]
            scores = []
            for label in LABELS:
                tokens = torch.tensor([tokenizer(f"{text}\n {label}")["input_ids"]])
                logits = model(tokens).logits[0, len(prompt) - 1 : -1].log_softmax(dim=-1)
                scores.append(float(logits.gather(-1, tokens[0, len(prompt) :, None]).sum()))
            labels.append(max(range(len(LABELS)), key=scores.__getitem__))
    return labels
