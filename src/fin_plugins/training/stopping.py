"""Ctrl-C, and running out of memory, in words that help."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from fin_plugins.common.errors import FinError
from fin_plugins.training.config import TrainConfig


class StopOnSignal(TrainerCallback):
    """Ends training after the running step, with a checkpoint, on Ctrl-C or SIGTERM; a second one: at once."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop, if asked to."""
        if self.stopped:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def release(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        print("\nfin train: stopping after this step, with a checkpoint (once more: at once, without)", flush=True)


@contextmanager
def out_of_memory_in_words(config: TrainConfig) -> Iterator[None]:
    """Turn running out of memory into advice.

    Raises:
        FinError: in place of that error; all others pass.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise FinError(_advice(config, error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise FinError(_advice(config, error)) from error


def _advice(config: TrainConfig, error: BaseException) -> str:
    what = (str(error).splitlines() or ["no more to be had"])[0]
    ways = [
        f"halve batch_size (now {config.batch_size}) and double gradient_accumulation (now "
        f"{config.gradient_accumulation}), which leaves the result as it is"
    ]
    if not config.gradient_checkpointing:
        ways.append("gradient_checkpointing: true")
    ways.append(f"a lower max_length (now {config.max_length})")
    if config.method == "full":
        ways.append("method: lora")
    return f"out of memory ({what}): {'; '.join(ways)}. The same command goes on from the last checkpoint"
