"""Worker of `train.py`: one training run, or the preparation of its rows; JSON job in, JSON figures out."""

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from measure import report_result
from transformers import AutoTokenizer, TrainerCallback, set_seed
from transformers.utils import logging

from fin_plugins.common.errors import FinError
from fin_plugins.training import trained_model as models
from fin_plugins.training.machine import hardware, peak_memory, versions
from fin_plugins.training.resource_errors import explain_out_of_memory
from fin_plugins.training.run_stats import RunStats
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.training_examples import IGNORED, TokenizedExample

# `training_data` and `train_loop` are imported in functions, to keep lm-eval and TRL out of the plain loop's memory.

Job = dict[str, Any]


class StepTimer:
    """Time, tokens and positions at the end of every step."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, int]] = []

    def record_step(self, tokens: int, computed: int) -> None:
        """Record the end of a step; useful tokens and computed positions are totals since the start."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._steps.append((time.perf_counter(), tokens, computed))

    def totals(self, warm_up: int) -> dict[str, float]:
        """Seconds, tokens and positions of the steps after the warm-up.

        Raises:
            FinError: there are none.
        """
        if len(self._steps) <= warm_up:
            raise FinError(f"only {len(self._steps)} steps, no more than the warm-up: raise --batches")
        figures = zip(self._steps[-1], self._steps[warm_up - 1], strict=True)
        return dict(zip(("seconds", "tokens", "computed"), (end - start for end, start in figures), strict=True))


def main() -> None:
    """Do the job in the last argument and report the result."""
    job = json.loads(sys.argv[-1])
    logging.disable_progress_bar()
    try:
        result = write_rows(job) if job["way"] == "prepare" else measure_training(job)
    except FinError as error:
        if job["way"] in ("prepare", "plain"):
            raise SystemExit(f"{job['way']}: {error}") from error
        result = {"failed": str(error)}
    report_result(result)


def write_rows(job: Job) -> dict[str, float]:
    """Write the first rows of the mix after a seeded shuffle, tokenised; returns their number and lengths."""
    from fin_plugins.training.training_data import load_training_data

    config = make_config(job)
    rows = load_training_data(config, models.model_path(config.model)).examples
    if len(rows) < job["count"]:
        raise FinError(f"{job['tasks']}: {len(rows)} rows, {job['count']} needed: lower --batches or --batch-size")
    random.Random(config.seed).shuffle(rows)
    rows = rows[: job["count"]]
    Path(job["rows"]).write_text(json.dumps([[row.ids, row.labels] for row in rows]), encoding="utf-8")
    lengths = [len(row.ids) for row in rows]
    return {"rows": len(rows), "mean": sum(lengths) / len(lengths), "longest": max(lengths)}


def make_config(job: Job) -> TrainConfig:
    """A configuration for one epoch, with defaults for all that the job does not set."""
    names = ("model", "dtype", "batch_size", "batching", "loss", "tasks")
    settings = {name: job[name] for name in names if name in job}
    return TrainConfig.model_validate({"tasks": ["fin_fomc"], "epochs": 1, "validation": None, **settings})


def measure_training(job: Job) -> dict[str, Any]:
    """Train on the job's rows; returns figures after the warm-up, peak memory and the machine."""
    rows = [TokenizedExample(*row) for row in json.loads(Path(job["rows"]).read_text(encoding="utf-8"))]
    rows = [TokenizedExample(row.ids, row.ids) for row in rows] if job["loss"] == "all" else rows
    config, timer = make_config(job), StepTimer()
    with explain_out_of_memory(config):
        set_seed(config.seed)
        model = models.add_adapter(models.load_base_model(config, models.model_path(config.model)), config)
        weights = count_frozen_weights(model)
        train = train_plain if job["way"] == "plain" else train_with_trainer
        batching = train(config, model, rows, timer)
    figures = {**timer.totals(job["warm_up"]), "peak": peak_memory(), "weights": weights}
    dtype = dtype_name(config)
    return {**figures, "batching": batching, "loss": job["loss"], "dtype": dtype, "machine": describe_machine()}


def dtype_name(config: TrainConfig) -> str:
    """The compute dtype without `torch.`."""
    return str(models.compute_dtype(config)).removeprefix("torch.")


def describe_machine() -> str:
    """Device and library versions."""
    machine, packages = hardware(), versions()
    device = ", ".join(machine["gpus"]) or f"{machine['cpu']}, {machine['threads']} thread(s)"
    return ", ".join([device, *(f"{name} {packages[name]}" for name in ("torch", "transformers", "peft", "trl"))])


def count_frozen_weights(model: Any) -> int:
    """Number of weights in the blocks, without adapter, embeddings and output layer."""
    base = model.get_base_model()
    embeddings = {base.get_input_embeddings().weight, base.get_output_embeddings().weight}
    return sum(
        parameter.numel()
        for parameter in base.parameters()
        if not parameter.requires_grad and parameter not in embeddings
    )


def train_plain(config: TrainConfig, model: Any, rows: Sequence[TokenizedExample], timer: StepTimer) -> str:
    """The usual hand-written loop: batches padded to their longest row, loss on every token."""
    device, dtype = models.device(), models.compute_dtype(config)
    model.to(device).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    tokens = computed = 0
    for start in range(0, len(rows), config.batch_size):
        padded = pad_batch(rows[start : start + config.batch_size])
        batch = {name: value.to(device) for name, value in padded.items()}
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # such loops usually show it in a progress bar
        tokens, computed = tokens + int(batch["attention_mask"].sum()), computed + batch["input_ids"].numel()
        timer.record_step(tokens, computed)
    return "padded"


def pad_batch(rows: Sequence[TokenizedExample]) -> dict[str, torch.Tensor]:
    """A batch padded to its longest row, with labels at all tokens."""
    longest = max(len(row.ids) for row in rows)
    padding = [longest - len(row.ids) for row in rows]
    return {
        "input_ids": torch.tensor([row.ids + [0] * count for row, count in zip(rows, padding, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - count) + [0] * count for count in padding]),
        "labels": torch.tensor([row.ids + [IGNORED] * count for row, count in zip(rows, padding, strict=True)]),
    }


def train_with_trainer(config: TrainConfig, model: Any, rows: list[TokenizedExample], timer: StepTimer) -> str:
    """The trainer of `fin train`, without validation and checkpoints, on the rows in order; returns the batching."""
    from fin_plugins.training import train_loop

    if config.batching == "packed":  # as many sequences as give about as many tokens per step as the others
        tokens = config.batch_size * sum(len(row.ids) for row in rows) / len(rows)
        config = config.model_copy(update={"batch_size": max(1, round(tokens / config.max_length))})
    tokenizer = AutoTokenizer.from_pretrained(models.model_path(config.model))
    data: Any = SimpleNamespace(lm=SimpleNamespace(tokenizer=tokenizer), chat=False, validation={})
    config = config.model_copy(update={"dtype": dtype_name(config), "chat_template": False})
    stats = RunStats()
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as folder:
        build = partial(
            train_loop.build_trainer,
            model=model,
            data=data,
            examples=rows,
            output=Path(folder),
            stats=stats,
            resuming=False,
        )
        config, trainer = train_loop.build_checked_trainer(config, train_loop.base_model_of(model), rows, build)
        trainer.args.train_sampling_strategy, trainer.args.save_strategy = "sequential", "no"
        trainer.add_callback(_TimerCallback(timer, stats))
        trainer.train()
    return config.batching


class _TimerCallback(TrainerCallback):
    def __init__(self, timer: StepTimer, stats: RunStats) -> None:
        self._timer, self._stats = timer, stats

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._timer.record_step(self._stats.tokens, self._stats.computed)


if __name__ == "__main__":
    main()
