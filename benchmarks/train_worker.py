"""One run of one side of `train.py`, in a process of its own: a job as JSON in, the figures as JSON out."""

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
from measure import tell
from transformers import AutoTokenizer, TrainerCallback, set_seed
from transformers.utils import logging

from fin_plugins.common.errors import FinError
from fin_plugins.training import trained_model as models
from fin_plugins.training.machine import hardware, peak_memory, versions
from fin_plugins.training.resource_errors import explain_out_of_memory
from fin_plugins.training.run_stats import RunStats
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.training_examples import IGNORED, TokenizedExample

# `prepare` and `fit` are imported where they are used: lm-eval and TRL may not count as the plain loop's memory.

Job = dict[str, Any]


class Meter:
    """Time and counts at the end of every step."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int, int]] = []

    def step(self, tokens: int, computed: int) -> None:
        """Take the time; `tokens` and positions `computed` are sums since the start."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._marks.append((time.perf_counter(), tokens, computed))

    def after(self, warm_up: int) -> dict[str, float]:
        """What came after the first steps.

        Raises:
            FinError: nothing did.
        """
        if len(self._marks) <= warm_up:
            raise FinError(f"{len(self._marks)} steps, no more than the warm-up: raise --batches")
        figures = zip(self._marks[-1], self._marks[warm_up - 1], strict=True)
        return dict(zip(("seconds", "tokens", "computed"), (end - start for end, start in figures), strict=True))


def main() -> None:
    """Do the job that the last argument describes."""
    job = json.loads(sys.argv[-1])
    logging.disable_progress_bar()
    try:
        result = write_rows(job) if job["way"] == "prepare" else measure(job)
    except FinError as error:
        if job["way"] in ("prepare", "plain"):
            raise SystemExit(f"{job['way']}: {error}") from error
        result = {"failed": str(error)}
    tell(result)


def write_rows(job: Job) -> dict[str, float]:
    """The first rows of the mix after a seeded shuffle, in tokens."""
    from fin_plugins.training.training_data import load_training_data

    config = config_of(job)
    tokens = load_training_data(config, models.model_path(config.model)).examples
    if len(tokens) < job["count"]:
        raise FinError(f"{job['tasks']}: {len(tokens)} rows, {job['count']} wanted: lower --batches or --batch-size")
    random.Random(config.seed).shuffle(tokens)
    chosen = tokens[: job["count"]]
    Path(job["rows"]).write_text(json.dumps([[one.ids, one.labels] for one in chosen]), encoding="utf-8")
    lengths = [len(one.ids) for one in chosen]
    return {"rows": len(chosen), "mean": sum(lengths) / len(lengths), "longest": max(lengths)}


def config_of(job: Job, **changes: Any) -> TrainConfig:
    """A training file's defaults, one epoch over the job's rows."""
    own = {name: job[name] for name in ("model", "dtype", "batch_size", "batching", "loss", "tasks") if name in job}
    return TrainConfig.model_validate({"tasks": ["fin_fomc"], "epochs": 1, "validation": None, **own, **changes})


def measure(job: Job) -> dict[str, Any]:
    """Train on the job's rows; seconds, tokens and positions after the warm-up, peak memory and what it ran on."""
    rows = [TokenizedExample(*row) for row in json.loads(Path(job["rows"]).read_text(encoding="utf-8"))]
    rows = [TokenizedExample(one.ids, one.ids) for one in rows] if job["loss"] == "all" else rows
    config, meter = config_of(job), Meter()
    with explain_out_of_memory(config):
        set_seed(config.seed)
        model = models.add_adapter(models.load_base_model(config, models.model_path(config.model)), config)
        weights = frozen_weights(model)
        batching = (plain if job["way"] == "plain" else ours)(config, model, rows, meter)
    figures = {**meter.after(job["warm_up"]), "peak": peak_memory(), "weights": weights}
    dtype = str(models.compute_dtype(config)).removeprefix("torch.")
    return {**figures, "batching": batching, "loss": job["loss"], "dtype": dtype, "machine": machine()}


def machine() -> str:
    """What it ran on and with."""
    where, installed = hardware(), versions()
    device = ", ".join(where["gpus"]) or f"{where['cpu']}, {where['threads']} thread(s)"
    return ", ".join([device, *(f"{name} {installed[name]}" for name in ("torch", "transformers", "peft", "trl"))])


def frozen_weights(model: Any) -> int:
    """Weights of the blocks: without adapter, embeddings and output layer."""
    base = model.get_base_model()
    ends = {base.get_input_embeddings().weight, base.get_output_embeddings().weight}
    return sum(one.numel() for one in base.parameters() if not one.requires_grad and one not in ends)


def plain(config: TrainConfig, model: Any, rows: Sequence[TokenizedExample], meter: Meter) -> str:
    """The loop that most people write: pad to the longest row of the batch, loss on every token of the text."""
    device, dtype = models.device(), models.compute_dtype(config)
    model.to(device).train()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    tokens = computed = 0
    for start in range(0, len(rows), config.batch_size):
        batch = {name: value.to(device) for name, value in padded(rows[start : start + config.batch_size]).items()}
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # shown in a progress bar, as a rule
        tokens, computed = tokens + int(batch["attention_mask"].sum()), computed + batch["input_ids"].numel()
        meter.step(tokens, computed)
    return "padded"


def padded(rows: Sequence[TokenizedExample]) -> dict[str, torch.Tensor]:
    """A batch as long as its longest row."""
    longest = max(len(one.ids) for one in rows)
    short = [longest - len(one.ids) for one in rows]
    return {
        "input_ids": torch.tensor([one.ids + [0] * missing for one, missing in zip(rows, short, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - missing) + [0] * missing for missing in short]),
        "labels": torch.tensor([one.ids + [IGNORED] * missing for one, missing in zip(rows, short, strict=True)]),
    }


def ours(config: TrainConfig, model: Any, rows: list[TokenizedExample], meter: Meter) -> str:
    """`fin train`'s own trainer, without validation and checkpoints, over the rows in their order."""
    from fin_plugins.training import train_loop

    if config.batching == "packed":  # sequences: about as many tokens a step as the others have
        tokens = config.batch_size * sum(len(one.ids) for one in rows) / len(rows)
        config = config.model_copy(update={"batch_size": max(1, round(tokens / config.max_length))})
    tokenizer = AutoTokenizer.from_pretrained(models.model_path(config.model))
    prepared: Any = SimpleNamespace(lm=SimpleNamespace(tokenizer=tokenizer), chat=False, validation={})
    dtype = str(models.compute_dtype(config)).removeprefix("torch.")
    config = config.model_copy(update={"dtype": dtype, "chat_template": False})
    ledger = RunStats()
    with tempfile.TemporaryDirectory(prefix="fin-bench-") as work:
        build = partial(
            train_loop.build_trainer,
            model=model,
            data=prepared,
            examples=rows,
            output=Path(work),
            stats=ledger,
            resuming=False,
        )
        config, trainer = train_loop.build_checked_trainer(config, train_loop.base_model_of(model), rows, build)
        trainer.args.train_sampling_strategy, trainer.args.save_strategy = "sequential", "no"
        trainer.add_callback(_Steps(meter, ledger))
        trainer.train()
    return config.batching


class _Steps(TrainerCallback):
    def __init__(self, meter: Meter, ledger: RunStats) -> None:
        self._meter, self._ledger = meter, ledger

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._meter.step(self._ledger.tokens, self._ledger.computed)


if __name__ == "__main__":
    main()
