"""The model card of a training run (`README.md`), and the commands that evaluate what was trained."""

import re
import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from fin_plugins.common.markdown import escape, inline_code, number, single_line, table, table_cell
from fin_plugins.common.model_card import front_matter, hub_id, render_markdown
from fin_plugins.training.train_record import TaskData, TrainRecord
from fin_plugins.training.training_plot import FILE as PLOT

_TEMPLATE = Path(__file__).with_name("training_card.md.jinja")
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
_YAML_SUFFIXES = (".yaml", ".yml")
_RESERVED_NAMES = ("base",)  # fin eval's name of the model without an adapter
_BASE, _PATH = "BASE", "PATH"

_METHODS = {
    "lora": "LoRA",
    "rslora": "rank-stabilised LoRA (rsLoRA)",
    "dora": "weight-decomposed LoRA (DoRA)",
    "qlora": "LoRA on a base quantised to 4 bits (QLoRA)",
    "full": "all weights",
}
_LOSSES = {"completion": "on the label and the end of turn", "all": "on prompt, label and end of turn"}
_TEMPLATES = {True: "the tokenizer's", False: "none", "auto": "the tokenizer's, if it has one"}
_MEMORY = {"host": "of the process", "cuda": "of tensors on the GPU"}
_DEMO = (
    "`demo`, the SmolLM2-135M-Instruct that fin-plugins converts from a Python package (4-bit weights, dequantised; "
    "`fin demo --model-path` prints its folder)"
)
_PEFT_SNIPPET = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, "PATH")
tokenizer = AutoTokenizer.from_pretrained({base!r})"""
_FULL_SNIPPET = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")"""

_SAMPLE = (
    "**Sample rows, not a benchmark.** The data of {} are the few rows bundled with fin-plugins for trying it out, not "
    "the real data. Scores of this model on these tasks say nothing about its quality."
)
_UNSEEN = (
    "**Trained on unseen tasks.** These tasks are marked as unseen, to measure how a model does on tasks it was not "
    "trained on: {}. Do not report scores of this model on them as unseen."
)
_LEAKS = (
    "**Leaks kept.** Train rows whose text also occurs in a test set were not removed (`keep_leaks`), so scores on "
    "those test sets may be too high."
)
_UNCHECKED = (
    "**Not checked against all test sets.** The test rows of {} were not on the machine, so the model may have been "
    "trained on some of them."
)
_LICENCE = (
    "**Non-commercial data.** A licence stated for the data of {} forbids commercial use. Read it before you use the "
    "model in a product."
)
_NOT_FINITE = "**The loss was not a finite number at some steps.** Training failed there; do not rely on this model."


def training_card(record: TrainRecord) -> str:
    """The model card: Markdown with the hub's metadata in front. It shows the plot if there is a loss curve.

    Text from users and data is escaped: no markup, HTML, line break or YAML in it takes effect.
    """
    full = record.method == "full"
    base = _hub_base(record) or _BASE
    return render_markdown(
        _TEMPLATE,
        record=record,
        full=full,
        plot=PLOT,
        front=_front_matter(record),
        base=_base_model(record),
        warnings=warnings(record),
        metric=_metric(record),
        tasks_table=_tasks_table(record),
        training_table=_two_columns(_training_rows(record)),
        validation_table=_validation_table(record),
        cost_table=_two_columns(_cost_rows(record)),
        usage_note=_usage_note(record, base),
        command=_card_command(record, base),
        snippet=_FULL_SNIPPET if full else _PEFT_SNIPPET.format(base=base),
    )


def warnings(record: TrainRecord) -> list[str]:
    """What a reader must know before using the model or quoting its scores, one Markdown paragraph each."""
    candidates = [
        _task_warning(record, lambda task: task.origin == "sample", _SAMPLE),
        _task_warning(record, lambda task: task.seen is False, _UNSEEN),
        _LEAKS if record.keep_leaks else "",
        _UNCHECKED.format(", ".join(map(inline_code, record.leaks_unchecked))) if record.leaks_unchecked else "",
        _task_warning(record, lambda task: bool(_NON_COMMERCIAL.search(task.licence or "")), _LICENCE),
        _NOT_FINITE if any(number(point.loss) in ("–", "inf", "-inf") for point in record.loss_curve) else "",
    ]
    return [warning for warning in candidates if warning]


def adapter_name(folder: str) -> str:
    """A name for the adapter in a folder of this name, valid in `--adapter NAME=PATH`."""
    name = re.sub(r"[^\w.-]+", "-", folder, flags=re.ASCII).strip("-.") or "trained"
    return f"{name}-adapter" if name in _RESERVED_NAMES else name


def evaluation_command(record: dict[str, Any], folder: Path, base: str) -> str:
    """The `fin eval` command for the tasks that were trained on.

    Args:
        record: content of `train.json`.
        folder: folder of the adapter or checkpoint.
        base: folder or hub name of the base model.
    """
    full = record["method"] == "full"
    command = ["fin", "eval", "--model", "fin_hf", "--model_args", f"pretrained={folder if full else base}"]
    command += [] if full else ["--adapter", f"{adapter_name(folder.resolve().name)}={folder}"]
    command += _task_arguments(record)
    command += ["--apply_chat_template"] if record["config"]["chat_template"] else []
    command += ["--log_samples", "--output_path", "results"]
    sample = any(task["origin"] == "sample" for task in record["tasks"])
    return ("FIN_DATA=sample " if sample else "") + shlex.join(command)


def _task_arguments(record: dict[str, Any]) -> list[str]:
    """Arguments that name the tasks; lm-eval takes one folder of users' task files, or the files themselves."""
    names = [task["task"] for task in record["config"]["tasks"]]
    folders = {str(Path(name).parent) for name in names if name.endswith(_YAML_SUFFIXES)}
    if len(folders) > 1:
        return ["--tasks", ",".join(names)]
    include = [argument for folder in folders for argument in ("--include_path", folder)]
    return ["--tasks", ",".join(task["task"] for task in record["tasks"]), *include]


def _task_warning(record: TrainRecord, applies: Callable[[TaskData], bool], warning: str) -> str:
    names = [inline_code(task.task) for task in record.tasks if applies(task)]
    return warning.format(", ".join(names)) if names else ""


def _front_matter(record: TrainRecord) -> str:
    """The hub's metadata; names the base model only if it is on the hub, because the hub refuses anything else."""
    full = record.method == "full"
    # The licence depends on those of base and data, which no program can combine.
    metadata: dict[str, Any] = {
        "model_name": single_line(record.name),
        "library_name": "transformers" if full else "peft",
        "license": "other",
    }
    if base := _hub_base(record):
        metadata |= {"base_model": base, "base_model_relation": "finetune" if full else "adapter"}
    tags = [*([] if full else ["lora"]), "finance", "text-classification", "fin-plugins"]
    return front_matter({**metadata, "pipeline_tag": "text-generation", "tags": tags})


def _hub_base(record: TrainRecord) -> str | None:
    """The base's name on a model hub; None for `demo` and for a folder."""
    model = str(record.config["model"])
    return None if model == "demo" else hub_id(model, owner_required=False)


def _base_model(record: TrainRecord) -> str:
    return _DEMO if record.config["model"] == "demo" else inline_code(record.config["model"])


def _metric(record: TrainRecord) -> str:
    return str((record.config["validation"] or {}).get("metric", ""))


def _two_columns(rows: list[tuple[str, str]]) -> str:
    return table(["", ""], [(name, escape(value)) for name, value in rows])


def _tasks_table(record: TrainRecord) -> str:
    header = ["Task", "Rows used", "Rows available", "Examples per epoch", "Dropped: in a test set",
              "Dropped: too long", "Validation rows", "Train rows, sha256", "Licence of the data"]  # fmt: skip
    rows = [
        [
            table_cell(task.task),
            f"{task.used:,}",
            f"{task.available:,}",
            f"{task.per_epoch:,}",
            str(task.leaks_dropped),
            str(task.too_long),
            str(task.validation),
            table_cell((task.rows_hash.get("train") or "–")[:12]),
            escape(task.licence or "unknown"),
        ]
        for task in record.tasks
    ]
    return table(header, rows, "lrrrrrrll")


def _validation_table(record: TrainRecord) -> str:
    metric = _metric(record)
    tasks = list(dict.fromkeys(task for point in record.validation_curve for task in point.tasks))
    rows = [
        [
            str(point.step),
            number(point.epoch, 2),
            number(point.mean),
            *(number(point.tasks.get(task, {}).get(metric)) for task in tasks),
            "**best, kept**" if point.step == record.best_step else "",
        ]
        for point in record.validation_curve
    ]
    return table(["Step", "Epoch", "Mean", *map(table_cell, tasks), ""], rows, f"rrr{'r' * len(tasks)}l")


def _training_rows(record: TrainRecord) -> list[tuple[str, str]]:
    config = record.config
    share = record.trainable_parameters / max(record.total_parameters, 1)
    return [
        ("Method", _method(record)),
        ("Trained parameters", f"{record.trainable_parameters:,} of {record.total_parameters:,} ({share:.2%})"),
        ("Learning rate", f"{config['learning_rate']:g}, {config['scheduler']}, {_warm_up(record)}"),
        ("Optimizer", f"{config['optimizer']}, weight decay {config['weight_decay']:g}, gradients clipped at "
                      f"{config['max_grad_norm']:g}"),
        ("Batch", f"{config['batch_size']} per device and micro-step, {config['gradient_accumulation']} micro-steps "
                  f"per step, {config['batching']}"),
        ("Length", _length(record)),
        ("Seed", str(record.seed)),
        ("Loss", _LOSSES[config["loss"]]),
        ("Longest example", f"{config['max_length']:,} tokens"),
        ("Chat template", _TEMPLATES[config["chat_template"]]),
        ("Precision", f"frozen weights and computation: {config['dtype']}; trained weights: float32"),
    ]  # fmt: skip


def _method(record: TrainRecord) -> str:
    method = _METHODS.get(record.method, record.method)
    if record.method == "full":
        return method
    lora = record.config["lora"]
    modules = lora["target_modules"]
    modules = modules if isinstance(modules, str) else ", ".join(modules)
    return f"{method}: rank {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']:g}, on {modules}"


def _warm_up(record: TrainRecord) -> str:
    steps = record.warm_up_steps
    return f"{steps:,} steps of warm-up" if steps > 1 else "one step of warm-up" if steps else "no warm-up"


def _length(record: TrainRecord) -> str:
    config = record.config
    limit = f" (at most {config['max_steps']:,} steps)" if config["max_steps"] else ""
    early = f"; stopped early, of {record.planned_steps:,}" if (record.planned_steps or 0) > record.steps else ""
    return f"{record.steps:,} steps{early}; {config['epochs']:g} epochs planned{limit}"


def _cost_rows(record: TrainRecord) -> list[tuple[str, str]]:
    duration = timedelta(seconds=round(record.wall_seconds))
    resumed = f"; resumed from a checkpoint: {record.resumed} ×" if record.resumed else ""
    speed = record.tokens_per_second
    peaks = [f"{size / 2**30:.1f} GiB {_MEMORY.get(name, name)}" for name, size in record.peak_memory_bytes.items()]
    return [
        ("Time", f"{duration} (h:mm:ss) with validation and checkpoints{resumed}"),
        ("Examples seen", f"{record.examples_seen:,}"),
        ("Tokens seen", f"{record.tokens_seen:,} (without padding); {record.tokens_computed:,} positions computed"),
        ("Speed", f"{speed:,.0f} tokens/s" if speed else "not measured"),
        ("Peak memory", "; ".join(peaks) or "not measured"),
        ("Hardware", _hardware(record.hardware)),
        ("Software", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("Commit of fin-plugins", record.commit or "none: installed from a package"),
        ("When", f"{record.started} to {record.ended}"),
        ("Command", " ".join(record.command_line)),
    ]


def _hardware(hardware: dict[str, Any]) -> str:
    names = hardware.get("gpus") or []
    gpus = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names)) or "no GPU"
    cpu = f"{hardware.get('cpu', 'unknown CPU')}, {hardware.get('cores', '?')} cores"
    memory = f", {hardware['memory_gib']:g} GiB" if hardware.get("memory_gib") else ""
    return f"{gpus}; {cpu}{memory}; {hardware.get('platform', '')}"


def _card_command(record: TrainRecord, base: str) -> str:
    name = adapter_name(single_line(Path(record.config["output"] or "").name or record.name))
    engine = "fin_hf" if record.method == "dora" else "fin_vllm"  # vLLM does not serve DoRA
    model = f"--model {engine} --model_args pretrained={_PATH if record.method == 'full' else base}"
    adapter = "" if record.method == "full" else f" --adapter {name}={_PATH}"
    tasks = shlex.quote(",".join(single_line(task.task) for task in record.tasks))
    template = "" if record.config["chat_template"] is False else " --apply_chat_template"
    return f"fin eval {model}{adapter} --tasks {tasks}{template}"


def _usage_note(record: TrainRecord, base: str) -> str:
    note = f"`{_PATH}` is this folder"
    if base == _BASE and record.method != "full":
        note += f", and `{_BASE}` is the base model: {_base_model(record)}"
    note += "."
    if record.config["chat_template"] is not False:
        note += " The model was trained on prompts in the tokenizer's chat template, so use it."
    return note
