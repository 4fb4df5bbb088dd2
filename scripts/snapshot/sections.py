"""The sections of a snapshot: each returns what the package does with fixed inputs, as JSON.

A section runs in a process of its own, in an empty working directory, with the environment of `scripts/behaviour.py`.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapshot.commands import ROOT, digest, file_hashes, fin, record_of, run
from snapshot.models import TEMPLATE_FOLDER, make_adapter, make_checkpoint, make_model, make_tokenizers

FAULTS = {"static": ROOT / "tests/checks/faults", "rows": ROOT / "tests/checks/row_faults"}
"""Seeded faults: of the files themselves, and of their rows."""
BOARDS = {"seed_42": "answers.parquet", "seed_43": "seed_43/answers.parquet"}
"""Board to its file of answers below --leaderboard."""
PAPER_EXPERTS = ("sentiment", "fomc", "headline", "finred")
REPLIES = ("{}", " {}.", "**{upper}**", "'{title}'", "label: {}", "not {}", "{} or {other}", "the {}ish", "", "none")
"""Generated replies; {} is a label, {other} the next one."""


@dataclass(frozen=True)
class Context:
    """What a section is given.

    Attributes:
        work: the working directory.
        mirror: the raw data files, laid out like the public addresses.
        leaderboard: the committed results.
        real_model: a real checkpoint, for the section `real`.
        say: prints a line of progress.
    """

    work: Path
    mirror: Path
    leaderboard: Path
    real_model: Path | None
    say: Callable[[str], None]


def prompts(context: Context) -> Any:
    """Prompts, answers and tokens of every task on all embedded test rows: each template, none, and two shots."""
    from lm_eval.models.huggingface import HFLM

    templates = [*sorted(file.stem for file in TEMPLATE_FOLDER.glob("*.jinja")), "base"]
    snapshot = {}
    for variant, shots in [*((name, 0) for name in templates), ("base", 2), (templates[0], 2)]:
        context.say(f"template {variant}, {shots} shots")
        chat = variant != "base"
        if not Path(variant).exists():
            make_model(Path(variant), variant)
        lm = HFLM(pretrained=variant, device="cpu", batch_size=1)
        tasks = load_tasks()
        for task in tasks.values():
            task.set_config(key="num_fewshot", value=shots)
            task.set_fewshot_seed(seed=1234)
            task.build_all_requests(
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
                chat_template=lm.apply_chat_template if chat else None,
            )
        snapshot[f"{variant}, {shots} shots"] = {name: _prompts_of(task, lm) for name, task in tasks.items()}
    return snapshot


def _prompts_of(task: Any, lm: Any) -> list[dict[str, Any]]:
    documents: dict[int, dict[str, Any]] = {}
    for request in task.instances:
        prompt, answer = request.args
        document = documents.setdefault(
            request.doc_id,
            {
                "prompt": prompt,
                "tokens": lm.tok_encode(prompt),
                "target": task.doc_to_target(request.doc),
                "document": digest(json.dumps(request.doc, sort_keys=True)),
                "answers": [],
            },
        )
        tokens = digest(lm.tok_encode(prompt + answer)) if isinstance(answer, str) else None
        document["answers"].append({"answer": answer, "tokens": tokens})
    for document in documents.values():  # the tokens themselves would be most of the file
        document["tokens"] = [len(document["tokens"]), digest(document["tokens"])]
    return list(documents.values())


def metrics(context: Context) -> Any:
    """Metrics of made-up answers: likelihoods that differ by document, and replies that a parser must tell apart."""
    snapshot = {}
    for name, task in load_tasks().items():
        generation, rows, picked = name.endswith("_gen"), [], []
        for row in task.test_docs():
            labels = row["choices"]
            answers = [[reply] for reply in _replies(labels)] if generation else [_likelihoods(row["text"], labels)]
            made = [{"answer": answer, **task.process_results(row, answer)} for answer in answers]
            rows += made
            picked.append(made[_number(row["text"]) % len(made)])
        figures = {
            metric: aggregate([row[metric] for row in picked]) for metric, aggregate in task.aggregation().items()
        }
        snapshot[name] = {"rows": rows, "figures": figures}
    return snapshot


def _number(text: str) -> int:
    return int(digest(text), 16)


def _likelihoods(text: str, labels: Sequence[str]) -> list[tuple[float, bool]]:
    return [(-(_number(f"{text} {label}") % 9973) / 100, False) for label in labels]


def _replies(labels: Sequence[str]) -> list[str]:
    """Replies that name the first three labels in every way."""
    pairs = list(zip(labels, [*labels[1:], labels[0]], strict=True))[:3]
    return [
        form.format(label, upper=label.upper(), title=label.title(), other=other)
        for label, other in pairs
        for form in REPLIES
    ]


def data(context: Context) -> Any:
    """Counts and hashes of all data sets, built from the mirror, and of their files."""
    folder = context.work / "data"
    environment = {"FIN_DATA_DIR": str(folder), "FIN_DATA": ""}
    run("fin", "data", "fetch", "--mirror", context.mirror, **environment)
    status = json.loads(run("fin", "data", "status", "--json", **environment))["data_sets"]
    files = {str(file.relative_to(folder)): digest(file.read_bytes()) for file in folder.rglob("*.parquet")}
    return {"status": status, "files": files}


def scores(context: Context) -> Any:
    """Answers and metrics of all tasks in float32: `fin eval` with a tiny base and two adapters, and plain lm_eval."""
    base = make_model(Path("base"), "llama3")
    adapters = [word for seed in (1, 2) for word in ("--adapter", f"a{seed}={make_adapter(f'a{seed}', base, seed)}")]
    choice = [name for name in task_names() if not name.endswith("_gen")]
    generation = [f"{name}_gen" for name in choice]
    model = ("--model_args", f"pretrained={base},dtype=float32", "--device", "cpu")
    chat = ("--apply_chat_template",)
    context.say("all likelihood tasks, base and two adapters")
    snapshot = {"choice": evaluate("choice", *model, *adapters, *chat, "--limit", 2, tasks=choice)}
    context.say("all generation tasks, base and two adapters")
    snapshot["generation"] = evaluate("generation", *model, *adapters, *chat, "--limit", 1, tasks=generation)
    context.say("no template, two shots, groups")
    shots = ("--num_fewshot", 2, "--limit", 1)
    snapshot["groups"] = evaluate("groups", *model, *shots, tasks=["fin_unseen", "fin_unseen_gen"])
    context.say("plain lm_eval")
    words = ("--model", "hf", *model, *chat, "--limit", 1, "--log_samples", "--output_path", "plain")
    run("lm_eval", *words, "--tasks", "fin_sentiment,fin_fomc_gen")
    snapshot["lm_eval"] = {"base": results(list(Path("plain").rglob("*.json*")))}
    return snapshot


def real(context: Context) -> Any:
    """Scores of a real model, on a few rows."""
    if context.real_model is None:
        raise SystemExit("name a checkpoint: --real-model FOLDER")
    words = ("--model_args", f"pretrained={context.real_model},dtype=float32", "--device", "cpu", "--limit", 2)
    return evaluate("real", *words, "--apply_chat_template", tasks=["fin_unseen", "fin_fomc_gen"])


def evaluate(name: str, *words: Any, tasks: Sequence[str]) -> dict[str, Any]:
    """`fin eval --model fin_hf`, and what it wrote for the base and each adapter."""
    models = [
        "base",
        *(str(word).split("=")[0] for word, flag in zip(words[1:], words, strict=False) if flag == "--adapter"),
    ]
    lists = [word for model in models for word in ("--written", f"{model}={name}-{model}.json")]
    output = ("--log_samples", "--output_path", name)
    run("fin", "eval", "--model", "fin_hf", "--tasks", ",".join(tasks), *words, *output, *lists)
    files = {model: json.loads(Path(f"{name}-{model}.json").read_text())["files"] for model in models}
    return {model: results([Path(file) for file in named]) for model, named in files.items()}


def results(files: Sequence[Path]) -> dict[str, Any]:
    """Figures and answers in lm-eval's result and sample files of one model."""
    (file,) = (file for file in files if file.name.startswith("results_"))
    record = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: record[key] for key in ("results", "groups", "versions", "n-shot", "n-samples") if key in record}
    kept["metadata"] = {task: config.get("metadata") for task, config in record["configs"].items()}
    kept["documents"] = {}
    for file in files:
        if found := re.fullmatch(r"samples_(\w+)_\d{4}-.*\.jsonl", file.name):
            rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
            kept["documents"][found[1]] = [_answered(row) for row in rows]
    return kept


def _answered(row: dict[str, Any]) -> dict[str, Any]:
    hashed = {key: digest(json.dumps(row[key], sort_keys=True)) for key in ("doc", "arguments")}
    names = ["doc_id", "target", "resps", "filtered_resps", "filter", *row["metrics"]]
    return {**{name: row[name] for name in names}, **hashed}


def training(context: Context) -> Any:
    """Losses, validation and adapters of two short trainings."""
    base = str(make_model(Path("base"), "llama3"))
    common = {"model": base, "max_length": 4000, "batch_size": 2, "learning_rate": 0.01, "dtype": "float32"}
    common |= {"lora": {"r": 4, "alpha": 8}, "validation": {"rows": 6}}
    mixture = [{"task": "fin_fpb", "weight": 2}, {"task": "fin_headline", "cap": 4, "weight": 1}]
    configs = {
        "one_task": {**common, "tasks": [{"task": "fin_fomc", "cap": 8}], "epochs": 2},
        "mixture": {**common, "tasks": mixture, "max_steps": 8, "replay": "self", "merge": True},
    }
    snapshot = {}
    for name, config in configs.items():
        context.say(name)
        Path(f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        run("fin", "train", f"{name}.yaml", "--out", name)
        snapshot[name] = {
            "record": record_of(Path(name) / "train.json"),
            "files": file_hashes(Path(name), context.work),
        }
    return snapshot


def merges(context: Context) -> Any:
    """Every bundled recipe on tiny experts: the filled-in recipe, and the weights as checkpoint and as one adapter."""
    base = make_model(Path("base"), "llama3")
    adapters = [make_adapter(f"adapter{seed}", base, seed) for seed in range(4)]
    checkpoints = [make_checkpoint(f"checkpoint{seed}", base, seed) for seed in range(2)]
    recipes = sorted(json.loads(fin("merge", "--list", "--json")[1]))
    snapshot: dict[str, Any] = {}
    for number, recipe in enumerate(recipes, 1):
        context.say(f"{recipe} ({number} of {len(recipes)})")
        paper = recipe.startswith("paper")
        names = PAPER_EXPERTS if paper else ("one", "two")
        mixed = _experts(names, [*adapters[:2], *checkpoints] if paper else [adapters[0], checkpoints[0]])
        plain = _experts(names, adapters)
        words = ("merge", recipe, "--base", base, "--seed", 3)
        made = {dtype: _merged(context, *words, *mixed, "--dtype", dtype) for dtype in ("float32", "bfloat16")}
        made["adapter"] = _merged(context, *words, *plain, "--as-adapter")
        made["recipe"] = [line for line in fin(*words, *mixed, "--print")[1].splitlines() if line[:1] != "#"]
        snapshot[recipe] = made
    words = ("merge", "task_arithmetic", "--base", base, *_experts(("one", "two"), adapters))
    snapshot["task_arithmetic"]["rank 4"] = _merged(context, *words, "--as-adapter", "--rank", 4, "--max-residual", 1)
    snapshot["task_arithmetic"]["weights"] = _merged(context, *words, "--weight", "one=0.7", "--set", "lambda=1.5")
    return snapshot


def _experts(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    return [word for name, folder in zip(names, folders, strict=False) for word in ("--expert", f"{name}={folder}")]


def _merged(context: Context, *words: Any) -> dict[str, Any]:
    out = context.work / "merged"
    status, _ = fin(*words, "--out", out, "--force")
    if status:
        return {"refused": status}
    made = {"record": record_of(out / "merge.json"), "files": file_hashes(out, context.work)}
    shutil.rmtree(out)
    return made


def boards(context: Context) -> Any:
    """The boards of the committed results: every figure, and the hashes of the files that hold them."""
    snapshot = {}
    for name, answers in BOARDS.items():
        context.say(name)
        words = ["--out", name, "--baseline", "smollm2", "--reference", "multi"]
        run("fin", "board", context.leaderboard / answers, *words)
        files = {file: digest((Path(name) / file).read_bytes()) for file in ("board.json", "board.csv", "board.tex")}
        snapshot[name] = {"files": files, "board": json.loads((Path(name) / "board.json").read_text(encoding="utf-8"))}
    return snapshot


def checks(context: Context) -> Any:
    """Findings of `fin task check` on every seeded fault, alone and, of the files' faults, all together."""
    make_tokenizers(context.work)
    snapshot: dict[str, Any] = {}
    for kind, source in FAULTS.items():
        folder = Path(shutil.copytree(source, context.work / kind))
        files = sorted(file.name for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
        context.say(f"{len(files)} seeded faults: {kind}")
        rows = ["--no-rows"] if kind == "static" else []
        with contextlib.chdir(folder):
            snapshot[kind] = {file: _findings(file, *rows, *_tokenizer(Path(file), context.work)) for file in files}
            if kind == "static":
                snapshot["together"] = _findings(".", *rows)
    return snapshot


def _tokenizer(file: Path, work: Path) -> list[Any]:
    """The options that a seeded fault asks for in its comment `# tokenizer: NAME context=N`."""
    said = re.search(rb"^# tokenizer: (\w+)(?: context=(\d+))?$", file.read_bytes(), re.MULTILINE)
    if said is None:
        return []
    return ["--tokenizer", work / said[1].decode(), *(["--context", said[2].decode()] if said[2] else [])]


def _findings(*words: Any) -> list[str]:
    status, printed = fin("task", "check", *words, "--format", "json")
    if status == 2:
        return ["could not look"]
    found = json.loads(printed)["findings"]
    return [f"{one['file']} line {one['line']} column {one['column']} {one['code']} {one['key']}" for one in found]


def task_names() -> list[str]:
    """All tasks that come with the package, without groups."""
    return sorted(file.stem for file in Path(run("fin", "path").strip()).rglob("fin_*.yaml"))


def load_tasks() -> dict[str, Any]:
    """lm-eval's Task objects of all tasks."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=run("fin", "path").strip())
    return manager.load(task_names())["tasks"]


SECTIONS: dict[str, Callable[[Context], Any]] = {
    section.__name__: section for section in (prompts, metrics, data, scores, training, merges, boards, checks, real)
}
