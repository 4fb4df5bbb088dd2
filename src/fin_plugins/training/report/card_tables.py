"""The rows of the model card's tables: how the model was trained, how validation went, what it cost."""

from datetime import timedelta
from typing import Any

from fin_plugins.training.report.record import Record
from fin_plugins.training.steps import warm_up_steps

_METHODS = {
    "lora": "LoRA",
    "rslora": "LoRA, rank-stabilised (rsLoRA)",
    "dora": "LoRA with magnitude and direction apart (DoRA)",
    "qlora": "LoRA on a base quantised to 4 bits (QLoRA)",
    "full": "all weights",
}
_LOSSES = {"completion": "on the label and the end of turn", "all": "on prompt, label and end of turn"}
_TEMPLATES = {True: "the tokenizer's", False: "none", "auto": "the tokenizer's, if it has one"}
_MEMORY = {"host": "of the process", "cuda": "of tensors on the GPU"}

Rows = list[tuple[str, str]]


def tables(record: Record) -> dict[str, Any]:
    """`how`, `cost`: rows of a name and a value; `metric`, `columns`: of the validation table."""
    return {
        "how": [*_how(record), *_data(record)],
        "cost": [*_time(record), *_machine(record)],
        "metric": (record.config["validation"] or {}).get("metric", ""),
        "columns": list(dict.fromkeys(task for check in record.validation_curve for task in check.tasks)),
    }


def _clock(seconds: float) -> str:
    """A time in hours, minutes and seconds: `1:05:12`."""
    return str(timedelta(seconds=round(seconds)))


def _how(record: Record) -> Rows:
    config = record.config
    share = record.trainable_parameters / max(record.total_parameters, 1)
    return [
        ("Method", _method(record)),
        ("Trained parameters", f"{record.trainable_parameters:,} of {record.total_parameters:,} ({share:.2%})"),
        ("Learning rate", f"{config['learning_rate']:g}, {config['scheduler']}, {_warm_up(record)}"),
        ("Optimizer", f"{config['optimizer']}, weight decay {config['weight_decay']:g}, gradients clipped at "
                      f"{config['max_grad_norm']:g}"),
        ("Batch", f"{config['batch_size']} a device and micro-step; micro-steps a step: "
                  f"{config['gradient_accumulation']}; {config['batching']}"),
        ("Length", _length(record)),
        ("Seed", str(record.seed)),
    ]  # fmt: skip


def _data(record: Record) -> Rows:
    config = record.config
    return [
        ("Loss", _LOSSES[config["loss"]]),
        ("Longest example", f"{config['max_length']:,} tokens"),
        ("Chat template", _TEMPLATES[config["chat_template"]]),
        ("Precision", f"frozen weights and computing: {config['dtype']}; what is trained: float32"),
    ]  # fmt: skip


def _method(record: Record) -> str:
    method = _METHODS.get(record.method, record.method)
    if record.method == "full":
        return method
    lora = record.config["lora"]
    modules = lora["target_modules"]
    where = modules if isinstance(modules, str) else ", ".join(modules)
    return f"{method}: rank {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']:g}, on {where}"


def _warm_up(record: Record) -> str:
    total = record.planned_steps or record.steps
    steps = warm_up_steps(record.config["scheduler"], record.config["warmup_ratio"], total)
    return f"{steps:,} steps of warm-up" if steps > 1 else "one step of warm-up" if steps else "no warm-up"


def _length(record: Record) -> str:
    config = record.config
    limit = f" (at most {config['max_steps']:,} steps)" if config["max_steps"] else ""
    early = f"; stopped early, of {record.planned_steps:,}" if (record.planned_steps or 0) > record.steps else ""
    return f"{record.steps:,} steps{early}; {config['epochs']:g} epochs planned{limit}"


def _time(record: Record) -> Rows:
    resumed = f"; resumed from a checkpoint: {record.resumed} ×" if record.resumed else ""
    speed = record.tokens_per_second
    computed = f"{record.tokens_seen:,} (without padding); {record.tokens_computed:,} positions were computed"
    rows = [
        ("Time", f"{_clock(record.wall_seconds)} (h:mm:ss) with validation and checkpoints{resumed}"),
        ("Examples seen", f"{record.examples_seen:,}"),
        ("Tokens seen", computed),
        ("Speed", f"{speed:,.0f} tokens/s" if speed else "not measured"),
    ]
    peaks = [f"{size / 2**30:.1f} GiB {_MEMORY.get(name, name)}" for name, size in record.peak_memory_bytes.items()]
    return [*rows, ("Peak memory", "; ".join(peaks) or "not measured")]


def _machine(record: Record) -> Rows:
    hardware = record.hardware
    gpus = hardware.get("gpus") or []
    named = ", ".join(f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)) or "no GPU"
    cores = f"{hardware.get('cpu', 'CPU not known')}, {hardware.get('cores', '?')} cores"
    memory = f", {hardware['memory_gib']:g} GiB" if hardware.get("memory_gib") else ""
    return [
        ("Hardware", f"{named}; {cores}{memory}; {hardware.get('platform', '')}"),
        ("Software", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("Commit of fin-plugins", record.commit or "none: installed from a package"),
        ("When", f"{record.started} to {record.ended}"),
        ("Command", " ".join(record.command_line)),
    ]
