"""Sections of a snapshot: each returns the package's behaviour on fixed inputs as JSON.

A section runs in its own process, in an empty working directory, with the environment of `scripts/behaviour.py`.
"""

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snapshot.commands import ROOT, digest, file_hashes, fin, read_record, run
from snapshot.models import TEMPLATE_FOLDER, make_adapter, make_checkpoint, make_model, make_tokenizers

FAULTS = {"static": ROOT / "tests/checks/faults", "rows": ROOT / "tests/checks/row_faults"}
"""Seeded faults in task files and in their rows."""
BOARDS = {"seed_42": "answers.parquet", "seed_43": "seed_43/answers.parquet"}
"""Board to its file of answers below --leaderboard."""
PAPER_EXPERTS = ("sentiment", "fomc", "headline", "finred")
REPLIES = ("{}", " {}.", "**{upper}**", "'{title}'", "label: {}", "not {}", "{} or {other}", "the {}ish", "", "none")
"""Generated replies; {} is a label, {other} the next label."""


@dataclass(frozen=True)
class Context:
    """Inputs of a section.

    Attributes:
        work: the working directory.
        mirror: folder of the raw data files, laid out like the public addresses.
        leaderboard: folder of the committed results.
        real_model: a real checkpoint for the section `real`.
        report: prints a line of progress.
    """

    work: Path
    mirror: Path
    leaderboard: Path
    real_model: Path | None
    report: Callable[[str], None]


def prompts(context: Context) -> Any:
    """Prompts, answers and tokens of every task on all embedded rows: each template, none, two shots."""
    from lm_eval.models.huggingface import HFLM

    templates = [*sorted(file.stem for file in TEMPLATE_FOLDER.glob("*.jinja")), "base"]
    snapshot = {}
    for variant, shots in [*((name, 0) for name in templates), ("base", 2), (templates[0], 2)]:
        context.report(f"template {variant}, {shots} shots")
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
    for document in documents.values():  # a hash, because the tokens would be most of the file
        document["tokens"] = [len(document["tokens"]), digest(document["tokens"])]
    return list(documents.values())


def metrics(context: Context) -> Any:
    """Metrics of fixed answers: log-likelihoods that vary by document, and replies that are hard to parse."""
    snapshot = {}
    for name, task in load_tasks().items():
        generative, rows, scored_rows = name.endswith("_gen"), [], []
        for row in task.test_docs():
            labels = row["choices"]
            answers = [[reply] for reply in _replies(labels)] if generative else [_likelihoods(row["text"], labels)]
            results = [{"answer": answer, **task.process_results(row, answer)} for answer in answers]
            rows += results
            scored_rows.append(results[_hash_number(row["text"]) % len(results)])
        figures = {
            metric: aggregate([row[metric] for row in scored_rows]) for metric, aggregate in task.aggregation().items()
        }
        snapshot[name] = {"rows": rows, "figures": figures}
    return snapshot


def _hash_number(text: str) -> int:
    return int(digest(text), 16)


def _likelihoods(text: str, labels: Sequence[str]) -> list[tuple[float, bool]]:
    return [(-(_hash_number(f"{text} {label}") % 9973) / 100, False) for label in labels]


def _replies(labels: Sequence[str]) -> list[str]:
    """Every form of reply for the first three labels."""
    pairs = list(zip(labels, [*labels[1:], labels[0]], strict=True))[:3]
    return [
        form.format(label, upper=label.upper(), title=label.title(), other=other)
        for label, other in pairs
        for form in REPLIES
    ]


def data(context: Context) -> Any:
    """Counts and hashes of all data sets, and hashes of their files, as built from the mirror."""
    folder = context.work / "data"
    environment = {"FIN_DATA_DIR": str(folder), "FIN_DATA": ""}
    run("fin", "data", "fetch", "--mirror", context.mirror, **environment)
    status = json.loads(run("fin", "data", "status", "--json", **environment))["data_sets"]
    files = {str(file.relative_to(folder)): digest(file.read_bytes()) for file in folder.rglob("*.parquet")}
    return {"status": status, "files": files}


def scores(context: Context) -> Any:
    """Answers and metrics of all tasks in float32: `fin eval` with a tiny base and two adapters, and `lm_eval`."""
    base = make_model(Path("base"), "llama3")
    adapters = [word for seed in (1, 2) for word in ("--adapter", f"a{seed}={make_adapter(f'a{seed}', base, seed)}")]
    choice = [name for name in task_names() if not name.endswith("_gen")]
    generation = [f"{name}_gen" for name in choice]
    model = ("--model_args", f"pretrained={base},dtype=float32", "--device", "cpu")
    chat = ("--apply_chat_template",)
    context.report("all likelihood tasks, base and two adapters")
    snapshot = {"choice": evaluate("choice", *model, *adapters, *chat, "--limit", 2, tasks=choice)}
    context.report("all generation tasks, base and two adapters")
    snapshot["generation"] = evaluate("generation", *model, *adapters, *chat, "--limit", 1, tasks=generation)
    context.report("no template, two shots, groups")
    shots = ("--num_fewshot", 2, "--limit", 1)
    snapshot["groups"] = evaluate("groups", *model, *shots, tasks=["fin_unseen", "fin_unseen_gen"])
    context.report("plain lm_eval")
    words = ("--model", "hf", *model, *chat, "--limit", 1, "--log_samples", "--output_path", "plain")
    run("lm_eval", *words, "--tasks", "fin_sentiment,fin_fomc_gen")
    snapshot["lm_eval"] = {"base": read_results(list(Path("plain").rglob("*.json*")))}
    return snapshot


def real(context: Context) -> Any:
    """Scores of a real model on a few rows."""
    if context.real_model is None:
        raise SystemExit("no checkpoint: add --real-model FOLDER")
    words = ("--model_args", f"pretrained={context.real_model},dtype=float32", "--device", "cpu", "--limit", 2)
    return evaluate("real", *words, "--apply_chat_template", tasks=["fin_unseen", "fin_fomc_gen"])


def evaluate(name: str, *words: Any, tasks: Sequence[str]) -> dict[str, Any]:
    """Run `fin eval --model fin_hf`; returns its results for the base and each adapter."""
    adapters = [str(value).split("=")[0] for flag, value in itertools.pairwise(words) if flag == "--adapter"]
    models = ["base", *adapters]
    manifests = {model: Path(f"{name}-{model}.json") for model in models}
    written = [word for model, file in manifests.items() for word in ("--written", f"{model}={file}")]
    output = ("--log_samples", "--output_path", name)
    run("fin", "eval", "--model", "fin_hf", "--tasks", ",".join(tasks), *words, *output, *written)
    files = {model: json.loads(file.read_text())["files"] for model, file in manifests.items()}
    return {model: read_results(list(map(Path, paths))) for model, paths in files.items()}


def read_results(files: Sequence[Path]) -> dict[str, Any]:
    """Figures and answers from lm-eval's result and sample files of one model."""
    (file,) = (file for file in files if file.name.startswith("results_"))
    record = json.loads(file.read_text(encoding="utf-8"))
    results = {key: record[key] for key in ("results", "groups", "versions", "n-shot", "n-samples") if key in record}
    results["metadata"] = {task: config.get("metadata") for task, config in record["configs"].items()}
    results["documents"] = {}
    for file in files:
        if match := re.fullmatch(r"samples_(\w+)_\d{4}-.*\.jsonl", file.name):
            rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
            results["documents"][match[1]] = [_shorten_sample(row) for row in rows]
    return results


def _shorten_sample(row: dict[str, Any]) -> dict[str, Any]:
    """Answers and metrics of a sample row; document and arguments as hashes."""
    names = ["doc_id", "target", "resps", "filtered_resps", "filter", *row["metrics"]]
    hashes = {key: digest(json.dumps(row[key], sort_keys=True)) for key in ("doc", "arguments")}
    return {**{name: row[name] for name in names}, **hashes}


def training(context: Context) -> Any:
    """Losses, validation scores and adapters of two short trainings."""
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
        context.report(name)
        Path(f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        run("fin", "train", f"{name}.yaml", "--out", name)
        snapshot[name] = {
            "record": read_record(Path(name) / "train.json"),
            "files": file_hashes(Path(name), context.work),
        }
    return snapshot


def merges(context: Context) -> Any:
    """Every bundled recipe on tiny experts: the resolved recipe, the merged checkpoint and the merged adapter."""
    base = make_model(Path("base"), "llama3")
    adapters = [make_adapter(f"adapter{seed}", base, seed) for seed in range(4)]
    checkpoints = [make_checkpoint(f"checkpoint{seed}", base, seed) for seed in range(2)]
    recipes = sorted(json.loads(fin("merge", "--list", "--json")[1]))
    snapshot: dict[str, Any] = {}
    for number, recipe in enumerate(recipes, 1):
        context.report(f"{recipe} ({number} of {len(recipes)})")
        paper = recipe.startswith("paper")
        names = PAPER_EXPERTS if paper else ("one", "two")
        mixed = _expert_options(names, [*adapters[:2], *checkpoints] if paper else [adapters[0], checkpoints[0]])
        adapters_only = _expert_options(names, adapters)
        words = ("merge", recipe, "--base", base, "--seed", 3)
        outcome = {dtype: _merge(context, *words, *mixed, "--dtype", dtype) for dtype in ("float32", "bfloat16")}
        outcome["adapter"] = _merge(context, *words, *adapters_only, "--as-adapter")
        outcome["recipe"] = [line for line in fin(*words, *mixed, "--print")[1].splitlines() if line[:1] != "#"]
        snapshot[recipe] = outcome
    words = ("merge", "task_arithmetic", "--base", base, *_expert_options(("one", "two"), adapters))
    snapshot["task_arithmetic"]["rank 4"] = _merge(context, *words, "--as-adapter", "--rank", 4, "--max-residual", 1)
    snapshot["task_arithmetic"]["weights"] = _merge(context, *words, "--weight", "one=0.7", "--set", "lambda=1.5")
    return snapshot


def _expert_options(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    return [word for name, folder in zip(names, folders, strict=False) for word in ("--expert", f"{name}={folder}")]


def _merge(context: Context, *words: Any) -> dict[str, Any]:
    """Record and file hashes of a merge, or the exit status of a refused one."""
    out = context.work / "merged"
    status, _ = fin(*words, "--out", out, "--force")
    if status:
        return {"refused": status}
    outcome = {"record": read_record(out / "merge.json"), "files": file_hashes(out, context.work)}
    shutil.rmtree(out)
    return outcome


def boards(context: Context) -> Any:
    """Boards of the committed results: every figure, and hashes of the files with figures."""
    snapshot = {}
    for name, answers in BOARDS.items():
        context.report(name)
        words = ["--out", name, "--baseline", "smollm2", "--reference", "multi"]
        run("fin", "board", context.leaderboard / answers, *words)
        files = {file: digest((Path(name) / file).read_bytes()) for file in ("board.json", "board.csv", "board.tex")}
        snapshot[name] = {"files": files, "board": json.loads((Path(name) / "board.json").read_text(encoding="utf-8"))}
    return snapshot


def checks(context: Context) -> Any:
    """Findings of `fin task check` on every seeded fault, and on all faulty task files together."""
    make_tokenizers(context.work)
    snapshot: dict[str, Any] = {}
    for kind, source in FAULTS.items():
        folder = Path(shutil.copytree(source, context.work / kind))
        files = sorted(file.name for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
        context.report(f"{len(files)} seeded faults: {kind}")
        rows = ["--no-rows"] if kind == "static" else []
        with contextlib.chdir(folder):
            snapshot[kind] = {
                file: _findings(file, *rows, *_tokenizer_options(Path(file), context.work)) for file in files
            }
            if kind == "static":
                snapshot["together"] = _findings(".", *rows)
    return snapshot


def _tokenizer_options(file: Path, work: Path) -> list[Any]:
    """Options from a seeded fault's comment `# tokenizer: NAME context=N`."""
    match = re.search(r"^# tokenizer: (\w+)(?: context=(\d+))?$", file.read_bytes().decode("latin-1"), re.MULTILINE)
    if match is None:
        return []
    return ["--tokenizer", work / match[1], *(["--context", match[2]] if match[2] else [])]


def _findings(*words: Any) -> list[str]:
    status, output = fin("task", "check", *words, "--format", "json")
    if status == 2:
        return ["could not look"]  # fixed by existing snapshots
    return [
        f"{finding['file']} line {finding['line']} column {finding['column']} {finding['code']} {finding['key']}"
        for finding in json.loads(output)["findings"]
    ]


def task_names() -> list[str]:
    """Names of all bundled tasks, without groups."""
    return sorted(file.stem for file in Path(run("fin", "path").strip()).rglob("fin_*.yaml"))


def load_tasks() -> dict[str, Any]:
    """All bundled tasks as lm-eval's Task objects."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=run("fin", "path").strip())
    return manager.load(task_names())["tasks"]


SECTIONS: dict[str, Callable[[Context], Any]] = {
    section.__name__: section for section in (prompts, metrics, data, scores, training, merges, boards, checks, real)
}
