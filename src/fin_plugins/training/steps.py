"""The optimizer steps of a run, those between two checkpoints and those of the warm-up: whole numbers, all of them.

transformers takes a number below 1 for a share of the run and any other for a count, so a share of exactly 1 would be
one step.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.training.config import TrainConfig

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LambdaLR

_DIGITS = 6  # below which a quotient's fraction is the noise of floats: 0.29 · 100 is 28.999999999999996


@dataclass(frozen=True)
class Steps:
    """Steps of a run: `total` of them, a checkpoint `every` so many, the first `warm_up` at a lower learning rate."""

    total: int
    every: int
    warm_up: int


def planned(config: TrainConfig, sequences: int, batch: int) -> Steps:
    """The steps of a run that nothing stops.

    Args:
        config: the training file.
        sequences: what an epoch is made of: examples, or where they are packed, packed sequences.
        batch: sequences a micro-step, over all devices.
    """
    epoch = max(1, math.ceil(math.ceil(sequences / batch) / config.gradient_accumulation))
    total = config.max_steps or math.ceil(round(config.epochs * epoch, _DIGITS))
    checkpoints = max(1.0, config.checkpoints_per_epoch * config.epochs)
    warm_up = warm_up_steps(config.scheduler, config.warmup_ratio, total)
    return Steps(total, math.ceil(round(total / checkpoints, _DIGITS)), warm_up)


def warm_up_steps(scheduler: str, ratio: float, total: int) -> int:
    """Steps of warming up: none where they come to less than one, or where the schedule has no warm-up.

    Args:
        scheduler: as in the training file.
        ratio: `warmup_ratio` of the training file.
        total: steps of the run.
    """
    steps = round(ratio * total, _DIGITS)
    return 0 if scheduler == "constant" or steps < 1 else round(steps)


def set_steps(arguments: Any, config: TrainConfig, sequences: int) -> Steps:
    """Put the steps into transformers' `TrainingArguments`, which can be done only where the data is packed already."""
    steps = planned(config, sequences, arguments.train_batch_size * arguments.world_size)
    arguments.save_steps = steps.every
    arguments.eval_steps = steps.every if arguments.eval_steps else None
    arguments.warmup_steps = steps.warm_up
    return steps


def start_above_zero(schedule: "LambdaLR", warm_up: int) -> "LambdaLR":
    """The schedule with step k of its warm-up, counted from 1, at the share k / (warm_up + 1) of the learning rate.

    transformers' first step has the rate 0, so it computes a batch and learns nothing.
    """
    from torch.optim.lr_scheduler import LambdaLR

    def share(step: int) -> float:
        return (step + 1) / (warm_up + 1) if step < warm_up else float(after(step))

    after = schedule.lr_lambdas[0]  # every group of parameters has the same
    return LambdaLR(schedule.optimizer, share)
