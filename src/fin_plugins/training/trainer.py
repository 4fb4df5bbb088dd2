"""TRL's `SFTTrainer` with our loss, validation and learning-rate schedule, and its settings for a training file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from fin_plugins.common.errors import FinError
from fin_plugins.compat.trl import forget_evaluation_metrics, fused_losses
from fin_plugins.scoring.tree_attention import as_mask, mask_dtype
from fin_plugins.training.run_stats import RunStats
from fin_plugins.training.train_config import ROUNDING_DIGITS, TrainConfig, warm_up_steps
from fin_plugins.training.trained_model import compute_dtype, device
from fin_plugins.training.training_examples import IGNORED
from fin_plugins.training.validation_scores import Validate

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LambdaLR


class LabelTrainer(SFTTrainer):
    """`SFTTrainer` with four changes.

    With few labels, logits are computed only at positions whose next token counts (on a CPU TRL computes all). The loss
    is the language model's alone, in training and in the log. `evaluate` calls `validation` instead of computing a
    loss, so transformers' choice of the best checkpoint and early stopping use the real metric. The first step of a
    warm-up has a learning rate above 0.
    """

    control: Any
    lr_scheduler: Any

    def __init__(
        self, *arguments: Any, validation: Validate | None, few_labels: bool, stats: RunStats, **settings: Any
    ) -> None:
        """Create the trainer.

        Args:
            arguments: `SFTTrainer`'s.
            validation: gives the metrics of the current model, without the prefix `eval_`.
            few_labels: whether the loss counts few positions, as with `loss: completion`.
            stats: counts what is trained on.
            settings: `SFTTrainer`'s.
        """
        text_config = base_model_of(settings["model"]).config.get_text_config()
        router_loss = getattr(text_config, "router_aux_loss_coef", None)
        super().__init__(*arguments, **settings)
        if router_loss is not None:
            text_config.router_aux_loss_coef = router_loss  # TRL overwrites it, and `method: full` would save that
        self._validation = validation
        self._few_labels = few_labels
        self.stats = stats
        self._mask_dtype = mask_dtype(text_config, base_model_of(self.model).dtype)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the losses of the counted tokens (nats) over their number in the whole step."""
        assert not return_outputs  # only transformers' own evaluation asks for outputs
        if self.model.training:
            self.stats.count(*_batch_counts(inputs))
        losses = self.token_losses(model, inputs)
        items = losses.numel() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(items, device=losses.device).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP averages the gradients over processes
        self._check_finite(loss)
        return loss

    def token_losses(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Losses of the counted tokens of a batch (nats), in the order of the batch.

        Args:
            model: the trainer's model, wrapped or not.
            inputs: output of `data_collator`, on the model's device.
        """
        losses = label_losses if self._few_labels else fused_losses
        return torch.cat([losses(model, part) for part in split_trees(inputs, self._mask_dtype)])

    def evaluate(self, *_arguments: Any, metric_key_prefix: str = "eval", **_settings: Any) -> dict[str, float]:
        """The metrics of `validation`, logged and passed to callbacks as by `Trainer.evaluate`."""
        assert self._validation is not None
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            validated = self._validation()
        self.model.train(training)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in validated.items()}
        forget_evaluation_metrics(self)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create `SFTTrainer`'s scheduler, with a warm-up that starts above 0."""
        exists = self.lr_scheduler is not None
        schedule = super().create_scheduler(num_training_steps, optimizer)
        warm_up = self.args.get_warmup_steps(num_training_steps)
        if warm_up and not exists:
            self.lr_scheduler = schedule = raise_warm_up(schedule, warm_up)
        return schedule

    def _check_finite(self, loss: torch.Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise FinError(
                f"the loss became {loss.item()} in step {self.state.global_step + 1}: lower learning_rate (now "
                f"{self.args.learning_rate:g}) or max_grad_norm, raise warmup_ratio, or use dtype: float32. The same "
                "command resumes from the last checkpoint; with --fresh it starts again"
            )


def base_model_of(model: Any) -> PreTrainedModel:
    """The transformers model inside a PEFT model; its layers contain the adapter, so it answers with it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def sft_config(config: TrainConfig, output: Path, *, validated: bool, resuming: bool) -> SFTConfig:
    """TRL's configuration for a training file without any `auto`; `set_steps` completes it."""
    return SFTConfig(
        output_dir=str(output),
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
        bf16=compute_dtype(config) == torch.bfloat16,
        use_cpu=device() == "cpu",
        gradient_checkpointing=config.gradient_checkpointing,
        ddp_find_unused_parameters=False,
        packing=config.batching == "packed",
        packing_strategy="bfd",
        padding_free=config.batching == "padding_free",
        max_length=config.max_length if config.batching == "packed" else None,  # longer examples are left out already
        eval_packing=False,
        router_aux_loss_coef=0.0,  # otherwise TRL adds the routers' loss
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


@dataclass(frozen=True)
class PlannedSteps:
    """Optimizer steps of a run, as whole numbers, since transformers takes numbers below 1 for fractions of a run.

    Attributes:
        total: steps of the run.
        checkpoint_interval: steps between checkpoints.
        warm_up: steps of the warm-up.
    """

    total: int
    checkpoint_interval: int
    warm_up: int


def plan_steps(config: TrainConfig, sequences: int, batch: int) -> PlannedSteps:
    """The steps of a run without early stopping.

    Args:
        config: the training file.
        sequences: examples, or packed sequences, of an epoch.
        batch: sequences per micro-step, over all devices.
    """
    epoch = max(1, math.ceil(math.ceil(sequences / batch) / config.gradient_accumulation))
    total = config.max_steps or math.ceil(round(config.epochs * epoch, ROUNDING_DIGITS))
    checkpoints = max(1.0, config.checkpoints_per_epoch * config.epochs)
    warm_up = warm_up_steps(config.scheduler, config.warmup_ratio, total)
    return PlannedSteps(total, math.ceil(round(total / checkpoints, ROUNDING_DIGITS)), warm_up)


def set_steps(arguments: Any, config: TrainConfig, sequences: int) -> None:
    """Set the steps in transformers' `TrainingArguments`; possible only once the data is packed."""
    steps = plan_steps(config, sequences, arguments.train_batch_size * arguments.world_size)
    arguments.save_steps = steps.checkpoint_interval
    arguments.eval_steps = steps.checkpoint_interval if arguments.eval_steps else None
    arguments.warmup_steps = steps.warm_up


def raise_warm_up(schedule: "LambdaLR", warm_up: int) -> "LambdaLR":
    """The schedule, with k / (warm_up + 1) of the learning rate in step k of the warm-up, counted from 1.

    transformers starts at 0, so its first step computes a batch and learns nothing.
    """
    from torch.optim.lr_scheduler import LambdaLR

    def factor(step: int) -> float:
        return (step + 1) / (warm_up + 1) if step < warm_up else float(original(step))

    original = schedule.lr_lambdas[0]  # the same for every parameter group
    return LambdaLR(schedule.optimizer, factor)


def label_losses(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Losses of the counted tokens, with logits computed only where the next token counts."""
    labels = inputs["labels"][:, 1:]
    positions = (labels != IGNORED).any(dim=0).nonzero().squeeze(-1)
    others = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**others, use_cache=False, logits_to_keep=positions).logits.float()
    targets = labels[:, positions].flatten()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, reduction="none")
    return losses[targets != IGNORED]


def split_trees(inputs: dict[str, Any], mask: torch.dtype) -> Iterator[dict[str, Any]]:
    """The trees of a shared-prefix batch, which do not see each other; any other batch as it is."""
    sizes = inputs.pop("trees", None)
    inputs.pop("given", None)
    if sizes is None:
        yield inputs
        return
    start = 0
    for size in sizes.tolist():
        span = slice(start, start + size)
        part = {name: inputs[name][:, span] for name in ("input_ids", "labels", "position_ids")}
        yield {**part, "attention_mask": as_mask(inputs["attention_mask"][:, :, span, span], mask)}
        start += size


def _batch_counts(inputs: dict[str, Any]) -> tuple[int, int, int]:
    """Examples and tokens of a batch, and positions that go through the model."""
    positions = int(inputs["input_ids"].numel())
    given = inputs.get("given")
    if given is not None:  # a shared-prefix batch: examples, and tokens without sharing
        return int(given[0]), int(given[1]), positions
    if "attention_mask" in inputs:
        return len(inputs["input_ids"]), int(inputs["attention_mask"].sum()), positions
    return int((inputs["position_ids"] == 0).sum()), positions, positions  # flattened: each example starts at 0
