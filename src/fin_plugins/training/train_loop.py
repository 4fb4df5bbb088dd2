"""The training itself: sets up TRL's trainer for a training file, resumes, publishes the model and its record."""

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, set_seed

from fin_plugins.common.errors import FinError
from fin_plugins.common.model_card import FILE as CARD
from fin_plugins.data.text_hashes import TRAINED_ROWS_FILE as TRAINED_ROWS
from fin_plugins.data.text_hashes import format_trained_rows, read_trained_rows
from fin_plugins.training.batching import build_checked_trainer
from fin_plugins.training.resource_errors import checkpoints_bytes, explain_full_disk, explain_out_of_memory
from fin_plugins.training.run_stats import (
    CHECKPOINTS,
    RunStats,
    RunStatsCallback,
    last_checkpoint,
    remove_incomplete_checkpoints,
)
from fin_plugins.training.shared_prefix import collate_shared_prefix
from fin_plugins.training.train_callbacks import EarlyStopping, EvaluateLastStep, StopOnSignal, TrainingProgress
from fin_plugins.training.train_config import TrainConfig
from fin_plugins.training.train_record import TrainRecord, build_record, write_record, write_text
from fin_plugins.training.trained_model import (
    add_adapter,
    check_trained,
    compute_dtype,
    fingerprint,
    load_base_model,
    publish_adapter,
)
from fin_plugins.training.trainer import LabelTrainer, base_model_of, set_steps, sft_config
from fin_plugins.training.training_card import training_card
from fin_plugins.training.training_data import TrainingData, replay_examples
from fin_plugins.training.training_examples import TokenizedExample, check_padding
from fin_plugins.training.training_plot import FILE as PLOT
from fin_plugins.training.training_plot import write_training_plot
from fin_plugins.training.validation_scores import validator


def run_training(config: TrainConfig, name: str, path: str, data: TrainingData, folder: Path) -> None:
    """Train, and leave the best model in `folder`; `train.json` is written last.

    Args:
        config: the training file.
        name: name of the run.
        path: folder or hub name of the base model.
        data: the data of the run.
        folder: folder of the run; it holds the checkpoints until the end.

    Raises:
        FinError: the model cannot be loaded, the loss is not finite, memory or disk is full, or nothing was learnt.
        KeyboardInterrupt: stopped by a signal, with a checkpoint.
    """
    checkpoints = folder / CHECKPOINTS
    saved = checkpoints / "kept"
    with explain_out_of_memory(config), ExitStack() as stack:
        set_seed(config.seed)
        base = load_base_model(config, path)
        replayed, replay = replay_examples(config, base, data, checkpoints)
        examples = data.examples + replayed
        set_seed(config.seed)
        model = add_adapter(base, config)
        stack.enter_context(explain_full_disk(folder, lambda: checkpoints_bytes(model)))
        before = fingerprint(model)
        if PartialState().is_main_process:
            remove_incomplete_checkpoints(checkpoints)
        PartialState().wait_for_everyone()
        checkpoint, stats = last_checkpoint(checkpoints) or (None, RunStats())
        build = partial(
            build_trainer,
            model=model,
            data=data,
            examples=examples,
            output=checkpoints,
            stats=stats,
            resuming=checkpoint is not None,
        )
        check_padding(data.lm, config.batching, config.model)
        dtype = str(compute_dtype(config)).removeprefix("torch.")
        config = config.model_copy(update={"dtype": dtype, "chat_template": data.chat})
        config, trainer = build_checked_trainer(config, base_model_of(model), examples, build)
        check_padding(data.lm, config.batching, config.model)
        total = _train(trainer, stats, checkpoint)
        if not trainer.is_fsdp_enabled:  # with FSDP each process has a part of every weight
            check_trained(trainer.accelerator.unwrap_model(trainer.model), before, config)
        trainer.save_model(str(saved))  # by all processes, because of FSDP
        if trainer.is_world_process_zero():
            publish_adapter(saved, folder)
            row_hashes = {row_hash for example in examples for row_hash in example.row_hashes}
            row_hashes |= read_trained_rows(Path(path)) if config.method == "full" else frozenset()
            write_text(folder / TRAINED_ROWS, format_trained_rows(row_hashes))
            write_report(build_record(config, name, trainer, data, replay, total), folder)
            shutil.rmtree(checkpoints)
    trainer.accelerator.wait_for_everyone()


def build_trainer(
    config: TrainConfig,
    model: Any,
    data: TrainingData,
    examples: list[TokenizedExample],
    output: Path,
    stats: RunStats,
    *,
    resuming: bool,
) -> LabelTrainer:
    """The trainer of a run.

    Args:
        config: the training file, without any `auto`.
        model: the model with its adapter.
        data: tokenizer and validation rows.
        examples: the examples of an epoch.
        output: folder of the checkpoints.
        stats: counts what is trained on.
        resuming: whether training starts from a checkpoint.

    Raises:
        FinError: validation with FSDP.
    """
    base = base_model_of(model)
    hidden_size = base.config.get_text_config().hidden_size
    dataset = Dataset.from_dict(
        {"input_ids": [example.ids for example in examples], "labels": [example.labels for example in examples]}
    )
    validated = bool(data.validation) and config.validation is not None
    trainer = LabelTrainer(
        model=model,
        args=sft_config(config, output, validated=validated, resuming=resuming),
        train_dataset=dataset,
        # Required by transformers, but unused: `evaluate` calls `validation`.
        eval_dataset=dataset.select([0]) if validated else None,
        processing_class=data.lm.tokenizer,
        data_collator=partial(collate_shared_prefix, hidden_size=hidden_size)
        if config.batching == "shared_prefix"
        else None,
        validation=validator(config.validation.metric, base, data) if validated and config.validation else None,
        few_labels=config.loss == "completion",
        stats=stats,
    )
    if trainer.is_fsdp_enabled and validated:
        raise FinError("validation: not possible with FSDP, which splits layers among processes: set it to off")
    set_steps(trainer.args, config, len(trainer.train_dataset))
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if validated and config.validation and config.validation.early_stop:
        trainer.add_callback(EarlyStopping(config.validation.metric, config.validation.early_stop))
    return trainer


def write_report(record: TrainRecord, folder: Path) -> None:
    """Write plot, model card and, last, `train.json`, which marks the run as finished.

    Raises:
        FinError: the folder cannot be written.
    """
    write_training_plot(record, folder / PLOT)
    write_text(folder / CARD, training_card(record))
    write_record(record, folder)


def _train(trainer: LabelTrainer, stats: RunStats, checkpoint: Path | None) -> RunStats:
    """Train to the end; returns the stats over all processes.

    Raises:
        KeyboardInterrupt: stopped by a signal, with a checkpoint.
    """
    stats_callback, stop_on_signal = RunStatsCallback(stats), StopOnSignal()
    progress = TrainingProgress(lambda: stats.tokens * PartialState().num_processes)
    for callback in (progress, stop_on_signal, EvaluateLastStep(), stats_callback):
        trainer.add_callback(callback)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        progress.close()
        stop_on_signal.release()
    step = trainer.state.global_step
    if stop_on_signal.stopped and step < trainer.state.max_steps:
        raise KeyboardInterrupt(f"stopped after step {step}, with a checkpoint in {trainer.args.output_dir}")
    return stats_callback.total()
