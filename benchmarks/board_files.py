"""Random result and sample files of many models, in the format that lm-eval 0.4.13 writes for our tasks.

Words and labels are nonsense, but a line has the form and size of a real one: a headline in a chat prompt, which
lm-eval writes once per label. With large label sets, such as the 29 labels of `fin_finred`, lines get long.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fin_plugins.stats.metrics import scores

NAMES = ("fpb", "fiqa", "headline", "finred", "fomc", "argument", "deal", "causal")
UNSEEN = ("argument", "deal", "causal")
DATE = 1_790_000_000.0  # of the first run
_CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\nlabel:"
_INSTRUCTION = (
    "You are an expert financial analyst. Classify the following sentence into {}. " + "Return one word. " * 8
)
_PAIRED = ("weighted_f1", "weighted_f1_stderr", "macro_f1", "macro_f1_stderr", "mcc", "mcc_stderr")
_UNTIL = {"until": ["\n"], "max_gen_toks": 16, "do_sample": False, "temperature": 0.0}
_VARIANTS = 64  # model outputs per answer


@dataclass(frozen=True)
class Task:
    """A task with the parts of its sample files that do not depend on the model.

    Attributes:
        name: name; ends in `_gen` for a generative task.
        labels: label set.
        gold: gold label index of each document.
        line_starts: start of each document's line.
        hashes: document, prompt and target hash of each document.
        outputs: `_VARIANTS` model outputs as JSON per label index; the last index is for no label.
    """

    name: str
    labels: tuple[str, ...]
    gold: np.ndarray
    line_starts: list[str]
    hashes: list[tuple[str, str, str]]
    outputs: list[list[str]]

    @property
    def is_generative(self) -> bool:
        """Whether the model answers by generation."""
        return self.name.endswith("_gen")


def write_runs(
    folder: Path, models: int, tasks: Sequence[Task], seed: int = 7, *, in_one_folder: bool = False
) -> Iterator[Path]:
    """Write one run per model; yields the result file of each complete run."""
    for number in range(models):
        rng = np.random.default_rng([seed, number])
        run, stamp = folder / f"bench__model-{number:03}", f"2026-09-21T00-00-00.{number:06}"
        run = folder if in_one_folder else run
        run.mkdir(parents=True, exist_ok=True)
        skill, answers = 0.35 + 0.5 * rng.random(), {}
        for task in tasks:
            answers[task.name] = _random_answers(task, skill, rng)
            lines = _sample_lines(task, answers[task.name], rng)
            (run / f"samples_{task.name}_{stamp}.jsonl").write_text(lines, encoding="utf-8")
        result = run / f"results_{stamp}.json"
        result.write_text(json.dumps(_results(number, tasks, answers), indent=2), encoding="utf-8")
        yield result


def make_tasks(count: int, generated: int, documents: int, labels: Sequence[int], seed: int = 7) -> list[Task]:
    """Tasks, the last `generated` of them generative; `labels` are the sizes of the label sets, used in turn."""
    tasks = []
    for number in range(count):
        name = f"fin_{NAMES[number % len(NAMES)]}" + ("" if number < len(NAMES) else str(number))
        suffix = "_gen" if number >= count - generated else ""
        rng = np.random.default_rng([seed, 1 << 20, number])
        tasks.append(_make_task(name + suffix, labels[number % len(labels)], documents, rng))
    return tasks


def _make_task(name: str, size: int, documents: int, rng: np.random.Generator) -> Task:
    labels = tuple(f"{'abcdefgh'[n % 8]}label{n}" for n in range(size))
    share = 1 / np.arange(1, size + 1)
    gold = rng.choice(size, size=documents, p=share / share.sum())
    generative, line_starts, hashes = name.endswith("_gen"), [], []
    for number in range(documents):
        words = " ".join("".join(rng.choice(list("aeioustrnl"), size=6)) for _ in range(22))
        doc = {"id": f"{name}-test-{number:05}", "text": words, "label": labels[gold[number]]}
        doc |= {"choices": labels, "gold": int(gold[number]), "data": "real"}
        prompt = _CHAT.format(f"{_INSTRUCTION.format(', '.join(labels))}\nSentence: {words}\n")
        requests: list[Any] = [[prompt, _UNTIL]] if generative else [[prompt, f" {label}"] for label in labels]
        arguments = {f"gen_args_{n}": {"arg_0": first, "arg_1": second} for n, (first, second) in enumerate(requests)}
        target = doc["label"] if generative else str(doc["gold"])
        start = {"doc_id": number, "doc": doc, "target": target, "arguments": arguments}
        line_starts.append(json.dumps(start, ensure_ascii=False)[:-1])
        hashes.append((_hash(json.dumps(doc, indent=2, ensure_ascii=False)), _hash(prompt), _hash(target)))
    outputs = [[_output(labels, answer, generative, rng) for _ in range(_VARIANTS)] for answer in range(size + 1)]
    return Task(name, labels, gold, line_starts, hashes, outputs)


def _output(labels: Sequence[str], answer: int, generative: bool, rng: np.random.Generator) -> str:
    """`resps` and `filtered_resps` of a document: a reply, or log-likelihoods with the answer's the highest."""
    if generative:
        reply = f" {labels[answer]}" if answer < len(labels) else " I cannot say"
        return f'"resps": {json.dumps([[reply]])}, "filtered_resps": {json.dumps([reply])}'
    likelihoods = -3 - 6 * rng.random(len(labels))
    likelihoods[min(answer, len(labels) - 1)] = -2 * rng.random()
    pairs = [[str(value), "False"] for value in likelihoods.tolist()]
    return f'"resps": {json.dumps([[pair] for pair in pairs])}, "filtered_resps": {json.dumps(pairs)}'


def _random_answers(task: Task, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Label indices that a model answers; the number of labels stands for no label."""
    other = rng.integers(len(task.labels), size=len(task.gold))
    answers = np.where(rng.random(len(task.gold)) < skill, task.gold, other)
    return np.where(rng.random(len(task.gold)) < 0.03, len(task.labels), answers) if task.is_generative else answers


def _sample_lines(task: Task, answers: np.ndarray, rng: np.random.Generator) -> str:
    names = ["acc", *_PAIRED, *(["missing", "ambiguous"] if task.is_generative else [])]
    middle = f', "filter": "none", "metrics": {json.dumps(names)}, '
    lines, variants = [], rng.integers(_VARIANTS, size=len(answers)).tolist()
    rows = zip(task.line_starts, task.hashes, task.gold.tolist(), answers.tolist(), variants, strict=True)
    for start, (doc, prompt, target), gold, answer, variant in rows:
        parsed = answer if answer < len(task.labels) else -1
        item = f"[{gold}, {parsed}, {len(task.labels)}]"
        paired = "".join(f', "{name}": {item}' for name in _PAIRED)
        rates = f', "missing": {float(parsed < 0)}, "ambiguous": 0.0' if task.is_generative else ""
        lines.append(
            f'{start}, {task.outputs[answer][variant]}{middle}"doc_hash": "{doc}", "prompt_hash": "{prompt}", '
            f'"target_hash": "{target}", "acc": {float(gold == parsed)}{paired}{rates}}}\n'
        )
    return "".join(lines)


def _results(number: int, tasks: Sequence[Task], answers: dict[str, np.ndarray]) -> dict[str, Any]:
    arguments = {"pretrained": f"bench/model-{number:03}", "dtype": "bfloat16", "max_model_len": 2048}
    sizes = {task.name: {"original": len(task.gold), "effective": len(task.gold)} for task in tasks}
    return {
        "results": {task.name: _aggregates(task, answers[task.name]) for task in tasks},
        "group_subtasks": {},
        "configs": {task.name: _config(task, arguments) for task in tasks},
        "versions": {task.name: 1.0 for task in tasks},
        "n-shot": {task.name: 0 for task in tasks},
        "higher_is_better": {task.name: {"acc": True, **dict.fromkeys(_PAIRED[::2], True)} for task in tasks},
        "n-samples": sizes,
        "config": {"model": "vllm", "model_args": arguments, "batch_size": "auto", "limit": None, "gen_kwargs": {}},
        "date": DATE + number,
        "lm_eval_version": "0.4.13",
        "task_hashes": {task.name: _hash("".join(map("".join, task.hashes))) for task in tasks},
        "model_source": "vllm",
        "model_name": arguments["pretrained"],
        "system_instruction": None,
        "fewshot_as_multiturn": True,
        "chat_template": _CHAT,
        "chat_template_sha": _hash(_CHAT),
    }


def _aggregates(task: Task, answers: np.ndarray) -> dict[str, Any]:
    parsed = np.where(answers < len(task.labels), answers, -1)
    metrics = asdict(scores(task.gold.tolist(), parsed.tolist(), len(task.labels)))
    rates = {"missing": float(np.mean(parsed < 0)), "ambiguous": 0.0} if task.is_generative else {}
    figures = {f"{metric},none": value for metric, value in {**metrics, **rates}.items()}
    return {"name": task.name, "alias": task.name, "sample_len": len(answers), **figures}


def _config(task: Task, arguments: dict[str, Any]) -> dict[str, Any]:
    rows = task.name.removeprefix("fin_").removesuffix("_gen")
    fin = {"rows": rows, "seen": rows not in UNSEEN, "language": "en", "data": "real"}
    fin["content_hash"] = {"test": _hash("".join(doc for doc, _, _ in task.hashes))}
    config = {
        "task": task.name,
        "dataset_kwargs": {"labels": task.labels},
        "test_split": "test",
        "doc_to_text": f"{_INSTRUCTION.format(', '.join(task.labels))}\nSentence: {{{{text}}}}\n",
        "doc_to_target": "label" if task.is_generative else "gold",
        "description": "",
        "target_delimiter": " ",
        "fewshot_delimiter": "\n\n",
        "num_fewshot": 0,
        "output_type": "generate_until" if task.is_generative else "multiple_choice",
        "repeats": 1,
        "gen_prefix": "label:",
        "metadata": {"version": 1.0, "fin": fin, **arguments},
    }
    return config | ({"generation_kwargs": _UNTIL} if task.is_generative else {"doc_to_choice": "choices"})


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
