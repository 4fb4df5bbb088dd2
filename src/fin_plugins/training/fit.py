"""The training itself: TRL's trainer set up from the training file, resumed where it was, recorded when it ends."""

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import PrinterCallback, ProgressCallback, set_seed

from fin_plugins.common.errors import FinError
from fin_plugins.data.trained_rows import FILE as TRAINED_ROWS
from fin_plugins.data.trained_rows import known_rows, trained_rows_text
from fin_plugins.training import model as models
from fin_plugins.training.batching import build_checked
from fin_plugins.training.config import TrainConfig
from fin_plugins.training.disk import checkpoints_size, disk_full_in_words
from fin_plugins.training.embedding_rows import check_padding
from fin_plugins.training.examples import Tokens
from fin_plugins.training.export import take_over
from fin_plugins.training.ledger import CHECKPOINTS, Keeper, Ledger, drop_partial, last_whole
from fin_plugins.training.prepare import Prepared
from fin_plugins.training.progress import Progress
from fin_plugins.training.report.record import write_text
from fin_plugins.training.report.write import write_report
from fin_plugins.training.selection import EarlyStop, LastStep, scorer
from fin_plugins.training.settings import sft_config
from fin_plugins.training.shared_prefix import shared_prefix
from fin_plugins.training.steps import set_steps
from fin_plugins.training.stopping import StopOnSignal, out_of_memory_in_words
from fin_plugins.training.trained import fingerprint, refuse_untrained
from fin_plugins.training.trainer import Trainer, base_of


def fit(config: TrainConfig, name: str, path: str, prepared: Prepared, folder: Path) -> None:
    """Train and leave the best model in `folder`, `train.json` last.

    Args:
        config: the training file.
        name: of the run.
        path: folder or hub name of the base model.
        prepared: its data.
        folder: of the run; checkpoints lie in it until the end.

    Raises:
        FinError: the model cannot be loaded, the loss is not finite, memory or disk runs out, or nothing was learnt.
        KeyboardInterrupt: stopped by a signal, with a checkpoint.
    """
    work = folder / CHECKPOINTS
    with out_of_memory_in_words(config), ExitStack() as stack:
        set_seed(config.seed)
        base = models.load(config, path)
        tokens, replay = _with_replay(config, base, prepared, work)
        set_seed(config.seed)
        model = models.with_adapter(base, config)
        stack.enter_context(disk_full_in_words(folder, lambda: checkpoints_size(model)))
        before = fingerprint(model)
        if PartialState().is_main_process:
            drop_partial(work)
        PartialState().wait_for_everyone()
        checkpoint, ledger = last_whole(work) or (None, Ledger())
        build = partial(_trainer, model=model, prepared=prepared, tokens=tokens, work=work, ledger=ledger)
        check_padding(prepared.lm, config.batching, config.model)
        config, trainer = build_checked(
            _resolved(config, prepared), base_of(model), tokens, partial(build, resuming=checkpoint is not None)
        )
        check_padding(prepared.lm, config.batching, config.model)
        total = _train(trainer, ledger, checkpoint)
        if not trainer.is_fsdp_enabled:  # with it each process holds a part of every weight
            refuse_untrained(trainer.accelerator.unwrap_model(trainer.model), before, config)
        trainer.save_model(str(work / "kept"))  # by all processes: with FSDP each holds a part
        if trainer.is_world_process_zero():
            take_over(work / "kept", folder)
            rows = {row for one in tokens for row in one.rows}
            rows |= known_rows(Path(path)) if config.method == "full" else frozenset()
            write_text(folder / TRAINED_ROWS, trained_rows_text(rows))
            write_report(config, name, trainer, prepared, replay, total, folder)
            shutil.rmtree(work)
    trainer.accelerator.wait_for_everyone()


def _train(trainer: Trainer, ledger: Ledger, checkpoint: Path | None) -> Ledger:
    """Train to the end and return what it took.

    Raises:
        KeyboardInterrupt: stopped by a signal, with a checkpoint.
    """
    keeper, signals = Keeper(ledger), StopOnSignal()
    progress = Progress(lambda: ledger.tokens * PartialState().num_processes)
    for callback in (progress, signals, LastStep(), keeper):
        trainer.add_callback(callback)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        progress.close()
        signals.release()
    step = trainer.state.global_step
    if signals.stopped and step < trainer.state.max_steps:
        raise KeyboardInterrupt(f"stopped after step {step}, with a checkpoint in {trainer.args.output_dir}")
    return keeper.total()


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
    hidden = base_of(model).config.get_text_config().hidden_size
    rows = Dataset.from_dict({"input_ids": [one.ids for one in tokens], "labels": [one.labels for one in tokens]})
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=rows,
        # Not looked at: `evaluate` asks `validation`. transformers wants one to be there.
        eval_dataset=rows.select([0]) if prepared.validation else None,
        processing_class=prepared.lm.tokenizer,
        data_collator=partial(shared_prefix, hidden=hidden) if config.batching == "shared_prefix" else None,
        validation=scorer(config, model, prepared) if prepared.validation else None,
        few_labels=config.loss == "completion",
        ledger=ledger,
    )
    if trainer.is_fsdp_enabled and prepared.validation:
        raise FinError("validation: cannot be done with FSDP, which shares a layer out among processes: set it to off")
    set_steps(trainer.args, config, len(trainer.train_dataset))
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if config.validation and config.validation.early_stop and prepared.validation:
        trainer.add_callback(EarlyStop(config.validation.metric, config.validation.early_stop))
    return trainer


def _resolved(config: TrainConfig, prepared: Prepared) -> TrainConfig:
    """The training file with what `auto` came to; `batching` is decided later, with a trainer."""
    dtype = str(models.dtype_of(config)).removeprefix("torch.")
    return config.model_copy(update={"dtype": dtype, "chat_template": prepared.chat})


def _with_replay(config: TrainConfig, base: Any, prepared: Prepared, work: Path) -> tuple[list[Tokens], Any]:
    """The task examples, and with them the replayed ones."""
    if config.replay is None:
        return prepared.tokens, None
    from fin_plugins.training.replay.examples import replayed

    more, record = replayed(config, base, prepared, work)
    return prepared.tokens + more, record
