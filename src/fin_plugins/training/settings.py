"""TRL's settings for a training file."""

from pathlib import Path

import torch
from trl import SFTConfig

from fin_plugins.training.config import TrainConfig
from fin_plugins.training.model import device, dtype_of


def sft_config(config: TrainConfig, work: Path, *, validated: bool, resuming: bool) -> SFTConfig:
    """TRL's configuration for a training file in which nothing is `auto` any more; `steps.set_steps` completes it."""
    return SFTConfig(
        output_dir=str(work),
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.scheduler,
        optim=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        bf16=dtype_of(config) == torch.bfloat16,
        use_cpu=device() == "cpu",
        gradient_checkpointing=config.gradient_checkpointing,
        ddp_find_unused_parameters=False,
        packing=config.batching == "packed",
        packing_strategy="bfd",
        padding_free=config.batching == "padding_free",
        max_length=config.max_length if config.batching == "packed" else None,  # longer examples were left out before
        eval_packing=False,
        router_aux_loss_coef=0.0,  # else TRL asks for router logits, and adds to the loss
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=1,
        eval_strategy="steps" if validated else "no",
        eval_steps=1 if validated else None,
        eval_on_start=validated and not resuming,
        load_best_model_at_end=validated,
        metric_for_best_model=config.validation.metric if validated and config.validation else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=False,
        report_to="none",
        disable_tqdm=True,
    )
