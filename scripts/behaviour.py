"""A snapshot of what the package does, to show that a refactoring changes nothing.

    python scripts/behaviour.py --out before       # a few minutes on one core; a stopped run resumes
    python scripts/behaviour.py --out after        # after the refactoring
    python scripts/behaviour.py compare before after

Each section writes one JSON file: prompts and tokens, data hashes, scores, a training, merges, boards, findings of the
checker. Everything goes through names that last: the command line, the task files, lm-eval's public API, PEFT and
safetensors files. Wording (help, messages, cards) and what differs between two runs (dates, paths, speeds) stay out.
Compare snapshots of one machine only: floating-point sums differ between processors and library versions.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures" / "templates"
FAULTS = {"static": ROOT / "tests/checks/faults", "rows": ROOT / "tests/checks/rows/faults"}
BOARDS = {"seed_42": ["results"], "seed_43": ["results/smollm2", "seed_43/results"]}
"""Board to its folders of results below --leaderboard."""
PAPER_EXPERTS = ("sentiment", "fomc", "headline", "finred")
VOLATILE = {"versions", "hardware", "commit", "started", "ended", "command_line", "peak_memory_bytes"}
VOLATILE |= {"wall_seconds", "tokens_per_second", "replay_seconds", "created", "seconds"}
"""Keys of the package's records that differ between two runs of the same code."""
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "FIN_DATA": "sample",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # one order of summation
    "PYTHONDONTWRITEBYTECODE": "",  # without bytecode every process compiles its libraries anew
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Context:
    """What a section is given; it runs in a process of its own, in an empty folder.

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


# ---- the sections


def prompts(context: Context) -> Any:
    """Prompts, answers and tokens of every task on all embedded test rows: each template, none, and two shots."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    names = task_names()
    manager = TaskManager(include_defaults=False, include_path=run("fin", "path").strip())
    templates = [*sorted(file.stem for file in FIXTURES.glob("*.jinja")), "base"]
    snapshot = {}
    for variant, shots in [*((name, 0) for name in templates), ("base", 2), (templates[0], 2)]:
        context.say(f"template {variant}, {shots} shots")
        chat = variant != "base"
        if not Path(variant).exists():
            make_model(Path(variant), variant)
        lm = HFLM(pretrained=variant, device="cpu", batch_size=1)
        tasks = manager.load(names)["tasks"]
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
    snapshot = {"choice": evaluate("choice", *model, *adapters, *chat, "--limit", 3, tasks=choice)}
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
    mixture = [
        {"task": "fin_fpb", "cap": 5},
        {"task": "fin_headline", "cap": 4, "repeat": 2},
        {"task": "fin_fomc", "weight": 0.5},
    ]
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
        made["recipe"] = fin(*words, *mixed, "--print")[1].replace(str(context.work), "WORK")
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
    for name, folders in BOARDS.items():
        context.say(name)
        words = [context.leaderboard / folder for folder in folders]
        run("fin", "board", *words, "--out", name, "--baseline", "smollm2", "--reference", "multi")
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


SECTIONS: dict[str, Callable[[Context], Any]] = {
    section.__name__: section for section in (prompts, data, scores, training, merges, boards, checks, real)
}
BY_DEFAULT = [name for name in SECTIONS if name != "real"]


# ---- tiny models, the same in every run


def make_tokenizer(template: str) -> Any:
    """One token per byte, the control tokens of a chat template, and BOS put in front by itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from tests.conftest import TEMPLATES

    bos, eos, control = TEMPLATES[template]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([bos, eos, *control])
    first = [(bos, backend.token_to_id(bos))]
    backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=first)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, pad_token=eos)
    if template != "base":
        tokenizer.chat_template = (FIXTURES / f"{template}.jinja").read_text(encoding="utf-8").strip("\n")
    return tokenizer


def make_model(folder: Path, template: str) -> Path:
    """A random Llama of four layers; its weights are large, so that its answers differ."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    tokenizer = make_tokenizer(template)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "max_position_embeddings": 8192}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    set_seed(5)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads, **ids)).save_pretrained(folder)
    return folder


def make_adapter(folder: str, base: Path, seed: int) -> Path:
    """A LoRA adapter with random factors."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return Path(folder)


def make_checkpoint(folder: str, base: Path, seed: int) -> Path:
    """The base with noise on every weight, as a full fine-tune."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    noisy = {name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()}
    save_file(noisy, Path(folder) / "model.safetensors", metadata={"format": "pt"})
    return Path(folder)


def make_tokenizers(folder: Path) -> None:
    """The tokenizers `words` (three labels, all else unknown) and `bytes`, which seeded faults ask for."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    labels = ["<unk>", "</s>", "label:", "refund", "delivery", "praise"]
    alphabet = ["</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(labels)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, backend in {"words": words, "bytes": letters}.items():
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
        tokenizer.save_pretrained(folder / name)
        config = {"model_type": "llama", "max_position_embeddings": 4096}
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")


# ---- commands and files


def run(program: str, *words: Any, **environment: str) -> str:
    """What a command prints, run in a process of its own.

    Raises:
        SystemExit: it failed; its last lines are in the message.
    """
    command = [str(Path(sys.executable).parent / program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    print(done.stdout, done.stderr, file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def fin(*words: Any) -> tuple[int, str]:
    """Exit status and standard output of `fin`, run in this process: a hundred starts would take most of the time."""
    (command,) = entry_points(group="console_scripts", name="fin")
    main, printed = command.load(), io.StringIO()
    sys.argv = ["fin", *map(str, words)]
    try:
        with contextlib.redirect_stdout(printed):
            main()
    except SystemExit as end:
        return int(end.code or 0), printed.getvalue()
    return 0, printed.getvalue()


def task_names() -> list[str]:
    """All tasks that come with the package."""
    return sorted(file.stem for file in Path(run("fin", "path").strip()).rglob("fin_*.yaml"))


def digest(content: Any) -> str:
    """The sha256 of bytes, or of anything else as text."""
    return hashlib.sha256(content if isinstance(content, bytes) else str(content).encode()).hexdigest()


def record_of(file: Path) -> Any:
    """A record of the package without what differs between two runs, and without paths."""
    work = str(Path.cwd())

    def steady(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: steady(one) for key, one in value.items() if key not in VOLATILE}
        if isinstance(value, list):
            return [steady(one) for one in value]
        return value.replace(work, "WORK") if isinstance(value, str) else value

    return steady(json.loads(file.read_text(encoding="utf-8")))


def file_hashes(folder: Path, work: Path) -> dict[str, str]:
    """Hashes of a model's files; cards, records and plots, which hold words and dates, are left out."""
    left_out = {"README.md", "merge.json", "train.json", "run.json"}
    return {
        str(file.relative_to(folder)): digest(file.read_bytes().replace(str(work).encode(), b"WORK"))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in left_out and file.suffix != ".svg"
    }


# ---- two snapshots compared


def compare(before: Path, after: Path, most: int = 5) -> int:
    """Print the first differences of each section; the exit status is 1 where there are any."""
    names = sorted({file.stem for folder in (before, after) for file in folder.glob("*.json")})
    if not names:
        raise SystemExit(f"no snapshot in {before} or {after}")
    different = False
    for name in names:
        files = [folder / f"{name}.json" for folder in (before, after)]
        missing = [str(file) for file in files if not file.is_file()]
        found = [f"{file} is missing" for file in missing]
        if not missing:
            found = list(differences(*(json.loads(file.read_text(encoding="utf-8")) for file in files)))
        different |= bool(found)
        print(f"{name}: {f'{len(found)} differences' if found else 'equal'}")
        for line in found[:most]:
            print(f"  {line}")
        if len(found) > most:
            print(f"  and {len(found) - most} more")
    return int(different)


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Each place where two JSON values differ, in words."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            at = f"{place} > {key}" if place else key
            if key not in after or key not in before:
                yield f"{at}: only {'before' if key in before else 'after'}"
            else:
                yield from differences(before[key], after[key], at)
    elif isinstance(before, list) and isinstance(after, list) and before != after:
        if all(isinstance(one, str) for one in before + after) and sorted(before) != sorted(after):
            yield from (f"{place}: only before: {one}" for one in before if one not in after)
            yield from (f"{place}: only after: {one}" for one in after if one not in before)
        if len(before) != len(after):
            yield f"{place}: {len(before)} entries before, {len(after)} after"
        elif not all(isinstance(one, str) for one in before + after) or sorted(before) == sorted(after):
            for number, (first, second) in enumerate(zip(before, after, strict=True)):
                yield from differences(first, second, f"{place} > {number}")
    elif json.dumps(before) != json.dumps(after):  # NaN equals NaN here
        yield f"{place}: {_short(before, after)} before, {_short(after, before)} after"


def _short(value: Any, other: Any) -> str:
    """A value; of a long text, what stands around the first difference."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= 100:
        return text
    start = max(len(os.path.commonprefix([text, json.dumps(other, ensure_ascii=False)])) - 30, 0)
    return f"{'…' * bool(start)}{text[start : start + 80]}…"


# ---- the command


def main() -> None:
    """Write the sections that are not there yet, or compare two snapshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mirror = os.environ.get("FIN_TEST_MIRROR") or ROOT.parent / "shared" / "upstream"
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the snapshot")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="one section; repeatable")
    parser.add_argument("--fresh", action="store_true", help="write sections that are there already again")
    parser.add_argument("--mirror", type=Path, default=Path(mirror), metavar="DIR", help="raw files of the data sets")
    parser.add_argument("--leaderboard", type=Path, default=ROOT / "leaderboard", metavar="DIR", help="for the boards")
    parser.add_argument("--real-model", type=Path, metavar="DIR", help="a checkpoint: adds the section `real`")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb")
    comparison = verbs.add_parser("compare", help="print how two snapshots differ")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.verb:
        sys.exit(compare(options.before, options.after))
    if options.out is None:
        parser.error("name a folder: --out DIR")
    if options.worker:
        _work(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = options.only or [*BY_DEFAULT, *(["real"] if options.real_model else [])]
    failed = [name for number, name in enumerate(chosen, 1) if not _write(options, name, f"{number}/{len(chosen)}")]
    sys.exit(f"behaviour: failed: {', '.join(failed)}" if failed else 0)


def _write(options: argparse.Namespace, name: str, count: str) -> bool:
    """Run a section in a process of its own, unless its file is there; whether that went well."""
    file = options.out / f"{name}.json"
    if file.exists() and not options.fresh:
        print(f"behaviour: {count} {name}: is there already", flush=True)
        return True
    started = time.monotonic()
    print(f"behaviour: {count} {name}", flush=True)
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--worker", name], env={**os.environ, **ENVIRONMENT}, check=False
    )
    outcome = f"failed, see {file.with_suffix('.log')}" if done.returncode else f"{file.stat().st_size:,} bytes"
    print(f"behaviour: {count} {name}: {outcome}, {time.monotonic() - started:.0f} s", flush=True)
    return done.returncode == 0


def _work(options: argparse.Namespace) -> None:
    """One section, in this process; what its libraries print goes to a log."""
    name, out = options.worker, options.out.resolve()
    sys.path.insert(0, str(ROOT))
    terminal = os.fdopen(os.dup(1), "w")

    def say(line: str) -> None:
        print(f"behaviour:     {line}", file=terminal, flush=True)

    with (out / f"{name}.log").open("wb") as log, tempfile.TemporaryDirectory(prefix="behaviour-") as folder:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        work = Path(folder).resolve()
        real_model = options.real_model and options.real_model.resolve()
        context = Context(work, options.mirror.resolve(), options.leaderboard.resolve(), real_model, say)
        with contextlib.chdir(work):
            snapshot = SECTIONS[name](context)
    text = json.dumps(snapshot, sort_keys=True, ensure_ascii=False, indent=1)
    (out / f"{name}.json.writing").write_text(text + "\n", encoding="utf-8")
    (out / f"{name}.json.writing").replace(out / f"{name}.json")


if __name__ == "__main__":
    main()
