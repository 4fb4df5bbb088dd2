"""The training itself: TRL's trainer set up from the training file, resumed where it was, recorded when it ends."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed
from trl import SFTConfig

from fin_plugins.errors import FinError
from fin_plugins.scoring.hf import FinHF
from fin_plugins.training import model as models
from fin_plugins.training.batching import choose_batching
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.examples import Tokens
from fin_plugins.training.export import take_over
from fin_plugins.training.ledger import Keeper, Ledger, drop_partial, last_whole
from fin_plugins.training.prepare import Prepared
from fin_plugins.training.progress import Progress
from fin_plugins.training.quiet import quiet
from fin_plugins.training.report import write_report
from fin_plugins.training.shared_prefix import shared_prefix
from fin_plugins.training.stopping import StopOnSignal, out_of_memory_in_words
from fin_plugins.training.trainer import Trainer, Validate, base_of
from fin_plugins.training.validation import validate

_SCORED = 16
"""Validation rows a pass: they share their instruction, and no gradient is kept."""


def fit(config: TrainConfig, name: str, path: str, prepared: Prepared, folder: Path) -> None:
    """Train and leave the best model in `folder`, `train.json` last.

    Args:
        config: the training file.
        name: of the run.
        path: folder or hub name of the base model.
        prepared: its data.
        folder: of the run; checkpoints lie in it until the end.

    Raises:
        FinError: the model cannot be loaded, the loss is not finite, or memory runs out.
        KeyboardInterrupt: stopped by a signal, with a checkpoint.
    """
    work = folder / "checkpoints"
    with out_of_memory_in_words(config):
        set_seed(config.seed)
        base = models.load(config, path)
        tokens, replay = _with_replay(config, base, prepared, work)
        set_seed(config.seed)
        model = models.with_adapter(base, config)
        if PartialState().is_main_process:
            drop_partial(work)
        PartialState().wait_for_everyone()
        checkpoint, ledger = last_whole(work) or (None, Ledger())
        config = _resolved(config, model, prepared, tokens)
        trainer = _trainer(config, model, prepared, tokens, work, ledger, resuming=checkpoint is not None)
        keeper, signals, progress = (
            Keeper(ledger),
            StopOnSignal(),
            Progress(lambda: ledger.tokens * PartialState().num_processes),
        )
        for callback in (progress, signals, _LastStep(), keeper):
            trainer.add_callback(callback)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            progress.close()
            signals.release()
    if signals.stopped and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt(f"stopped after step {trainer.state.global_step}, with a checkpoint in {work}")
    total = keeper.total()
    trainer.save_model(str(work / "kept"))  # by all processes: with FSDP each holds a part
    if trainer.is_world_process_zero():
        take_over(work / "kept", folder)
        write_report(config, name, trainer, prepared, replay, total, folder)
        shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()


class _LastStep(TrainerCallback):
    """The model of the last step is validated too, whether or not the steps between validations divide the run."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True


class _EarlyStop(TrainerCallback):
    """Stops when checkpoints no longer get better; decides from the log alone, so a resumed run decides the same."""

    def __init__(self, metric: str, patience: int) -> None:
        self._key, self._patience = f"eval_{metric}", patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        curve = [entry[self._key] for entry in state.log_history if self._key in entry and entry["step"]]
        if curve and len(curve) - 1 - curve.index(max(curve)) >= self._patience:
            control.should_training_stop = True


def _trainer(
    config: TrainConfig,
    model: Any,
    prepared: Prepared,
    tokens: list[Tokens],
    work: Path,
    ledger: Ledger,
    *,
    resuming: bool,
) -> Trainer:
    settings = sft_config(config, work, validated=bool(prepared.validation), resuming=resuming)
    rows = Dataset.from_dict({"input_ids": [one.ids for one in tokens], "labels": [one.labels for one in tokens]})
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=rows,
        # Not looked at: `evaluate` asks `validation`. transformers wants one to be there.
        eval_dataset=rows.select([0]) if prepared.validation else None,
        processing_class=prepared.lm.tokenizer,
        data_collator=shared_prefix if config.batching == "shared_prefix" else None,
        validation=_validation(config, model, prepared) if prepared.validation else None,
        few_labels=config.loss == "completion",
        ledger=ledger,
    )
    if trainer.is_fsdp_enabled and prepared.validation:
        raise FinError("validation: cannot be done with FSDP, which shares a layer out among processes: set it to off")
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if config.validation and config.validation.early_stop and prepared.validation:
        trainer.add_callback(_EarlyStop(config.validation.metric, config.validation.early_stop))
    return trainer


def _resolved(config: TrainConfig, model: Any, prepared: Prepared, tokens: Sequence[Tokens]) -> TrainConfig:
    """The training file with what `auto` came to."""
    dtype = str(models.dtype_of(config)).removeprefix("torch.")
    batching = choose_batching(config, base_of(model), tokens)
    return config.model_copy(update={"dtype": dtype, "chat_template": prepared.chat, "batching": batching})


def sft_config(config: TrainConfig, work: Path, *, validated: bool, resuming: bool) -> SFTConfig:
    """TRL's configuration for a training file in which nothing is `auto` any more."""
    every = 1 / (config.checkpoints_per_epoch * max(config.epochs, 1 / config.checkpoints_per_epoch))
    return SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.scheduler,
        warmup_steps=config.warmup_ratio,
        optim=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        bf16=models.dtype_of(config) == torch.bfloat16,
        use_cpu=models.device() == "cpu",
        gradient_checkpointing=config.gradient_checkpointing,
        ddp_find_unused_parameters=False,
        packing=config.batching == "packed",
        packing_strategy="bfd",
        padding_free=config.batching == "padding_free",
        max_length=config.max_length if config.batching == "packed" else None,  # longer examples were left out before
        eval_packing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        eval_strategy="steps" if validated else "no",
        eval_steps=every if validated else None,
        eval_on_start=validated and not resuming,
        load_best_model_at_end=validated,
        metric_for_best_model=config.validation.metric if validated and config.validation else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=False,
        report_to="none",
        disable_tqdm=True,
    )


def _validation(config: TrainConfig, model: Any, prepared: Prepared) -> Validate:
    """Scores the model as it is when asked, every process its share of the rows."""
    assert config.validation is not None
    metric = config.validation.metric
    state = PartialState()
    share = (state.num_processes, state.process_index, gather_object) if state.num_processes > 1 else None
    lm: list[FinHF] = []

    def scored() -> dict[str, float]:
        if not lm:
            with quiet("lm_eval.models.huggingface"):  # it warns that a loaded model has no use for `device`
                lm.append(FinHF(pretrained=base_of(model), tokenizer=prepared.lm.tokenizer, batch_size=_SCORED))
        found = validate(lm[0], prepared.validation, share)
        each = {f"{task}/{key}": value for task, scores in found.items() for key, value in vars(scores).items()}
        return {metric: sum(getattr(one, metric) for one in found.values()) / len(found), **each}

    return scored


def _with_replay(config: TrainConfig, base: Any, prepared: Prepared, work: Path) -> tuple[list[Tokens], Any]:
    """The task examples, and with them the replayed ones."""
    if config.replay is None:
        return prepared.tokens, None
    from fin_plugins.training.rehearse import replayed

    more, record = replayed(config, base, prepared, work)
    return prepared.tokens + more, record
