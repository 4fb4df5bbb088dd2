"""TRL's `SFTTrainer`, with the loss computed where it counts and validation by label likelihood."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import PreTrainedModel
from trl import SFTTrainer

from fin_plugins.common.errors import FinError
from fin_plugins.compat.trl import forget_evaluation_metrics, fused_losses
from fin_plugins.scoring.attention_mask import as_mask, mask_dtype
from fin_plugins.training.examples import IGNORED
from fin_plugins.training.ledger import Ledger
from fin_plugins.training.steps import start_above_zero

Validate = Callable[[], dict[str, float]]


class Trainer(SFTTrainer):
    """As `SFTTrainer`; four things differ.

    With few labels the vocabulary is computed at the positions whose next token the loss counts, not at all of them
    (on a CPU TRL computes all). The loss is the language model's and nothing else, in training and in the log. And
    `evaluate` asks `validation` instead of computing a loss, so that transformers' own selection of the best
    checkpoint and early stopping work on the real metric. And the first step of a warm-up trains.
    """

    control: Any
    lr_scheduler: Any

    def __init__(
        self, *arguments: Any, validation: Validate | None, few_labels: bool, ledger: Ledger, **settings: Any
    ) -> None:
        """As `SFTTrainer`'s.

        Args:
            arguments: `SFTTrainer`'s.
            validation: gives the metrics of the model as it is now, without the prefix `eval_`.
            few_labels: the loss counts few positions, as with `loss: completion`.
            ledger: counts what goes through training.
            settings: `SFTTrainer`'s.
        """
        text_config = base_of(settings["model"]).config.get_text_config()
        balance = getattr(text_config, "router_aux_loss_coef", None)
        super().__init__(*arguments, **settings)
        if balance is not None:
            text_config.router_aux_loss_coef = balance  # TRL wrote ours there, and `method: full` saves it
        self._validation = validation
        self._few_labels = few_labels
        self.ledger = ledger
        self._mask_dtype = mask_dtype(text_config, base_of(self.model).dtype)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the counted tokens' losses (nats), over their number in the whole step."""
        assert not return_outputs  # only transformers' own evaluation asks for them
        if self.model.training:
            self.ledger.count(*_counts(inputs))
        losses = self.token_losses(model, inputs)
        items = losses.numel() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(items, device=losses.device).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP takes the mean of the gradients over processes
        self._check(loss)
        return loss

    def token_losses(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Losses of a batch's counted tokens (nats), in the batch's order: what training adds up.

        Args:
            model: the trainer's, as it may be wrapped.
            inputs: what `data_collator` makes, on the model's device.
        """
        losses = _few_losses if self._few_labels else _all_losses
        return torch.cat([losses(model, part) for part in _trees(inputs, self._mask_dtype)])

    def evaluate(self, *_arguments: Any, metric_key_prefix: str = "eval", **_settings: Any) -> dict[str, float]:
        """Metrics of `validation`, logged and told to the callbacks as `Trainer.evaluate` does."""
        assert self._validation is not None
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            found = self._validation()
        self.model.train(training)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        forget_evaluation_metrics(self)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As `SFTTrainer`'s, with a warm-up that starts above 0."""
        made = self.lr_scheduler is not None
        schedule = super().create_scheduler(num_training_steps, optimizer)
        warm_up = self.args.get_warmup_steps(num_training_steps)
        if warm_up and not made:
            self.lr_scheduler = schedule = start_above_zero(schedule, warm_up)
        return schedule

    def _check(self, loss: torch.Tensor) -> None:
        if not math.isfinite(loss.item()):
            raise FinError(
                f"the loss became {loss.item()} in step {self.state.global_step + 1}: lower learning_rate (now "
                f"{self.args.learning_rate:g}) or max_grad_norm, raise warmup_ratio, or use dtype: float32; the same "
                "command goes on from the last checkpoint, with --fresh from the start"
            )


def _few_losses(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Losses of the counted tokens; the vocabulary is computed only where a next token counts."""
    labels = inputs["labels"][:, 1:]
    keep = (labels != IGNORED).any(dim=0).nonzero().squeeze(-1)
    others = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**others, use_cache=False, logits_to_keep=keep).logits.float()
    kept = labels[:, keep].flatten()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), kept, ignore_index=IGNORED, reduction="none")
    return losses[kept != IGNORED]


def _all_losses(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Losses of the counted tokens by TRL's output layer, which never holds the whole vocabulary at all positions."""
    return fused_losses(model, inputs)


def _trees(inputs: dict[str, Any], mask: torch.dtype) -> Iterator[dict[str, Any]]:
    """The parts of a batch that see nothing of each other: the trees of `shared_prefix`, otherwise the whole of it."""
    sizes = inputs.pop("trees", None)
    inputs.pop("given", None)
    if sizes is None:
        yield inputs
        return
    start = 0
    for size in sizes.tolist():
        here = slice(start, start + size)
        part = {name: inputs[name][:, here] for name in ("input_ids", "labels", "position_ids")}
        yield {**part, "attention_mask": as_mask(inputs["attention_mask"][:, :, here, here], mask)}
        start += size


def _counts(inputs: dict[str, Any]) -> tuple[int, int, int]:
    """Examples and tokens of a batch, and positions put through the model for them."""
    positions = int(inputs["input_ids"].numel())
    given = inputs.get("given")
    if given is not None:  # shared_prefix: examples, and tokens without sharing
        return int(given[0]), int(given[1]), positions
    if "attention_mask" in inputs:
        return len(inputs["input_ids"]), int(inputs["attention_mask"].sum()), positions
    return int((inputs["position_ids"] == 0).sum()), positions, positions  # flattened: each example starts at 0


def base_of(model: Any) -> PreTrainedModel:
    """The transformers model below PEFT's: with an adapter attached its layers hold it, so it answers with it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
