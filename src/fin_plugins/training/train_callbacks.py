"""Callbacks of the trainer: stopping, validation of the last step, and progress on standard error."""

import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from transformers import TrainerCallback

from fin_plugins.common.formatting import duration

_LINE_INTERVAL = 10.0  # minimum seconds between two lines
_LINE_SHARE = 0.01  # minimum fraction of the time so far, so that a long run logs a few hundred lines
# Entries that the trainer adds to the results of a validation.
_NOT_RESULTS = ("runtime", "_per_second", "epoch", "num_tokens", "model_preparation_time")


class StopOnSignal(TrainerCallback):
    """Ends training after the current step, with a checkpoint, on Ctrl-C or SIGTERM; at once on a second signal."""

    def __init__(self) -> None:
        self.stopped = False
        self._previous_handlers: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Install the signal handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous_handlers[number] = signal.signal(number, self._handle)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save and stop if a signal has come."""
        if self.stopped:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False

    def release(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        print("\nfin train: stopping after this step, with a checkpoint (again: at once, without one)", flush=True)


class EvaluateLastStep(TrainerCallback):
    """Validates the last step, even if the interval between validations does not divide the run."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Request a validation at the last step."""
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True


class EarlyStopping(TrainerCallback):
    """Stops when checkpoints no longer improve. Uses only the log, so a resumed run stops at the same step."""

    def __init__(self, metric: str, patience: int) -> None:
        """Stop after `patience` validations without an improvement."""
        self._key, self._patience = f"eval_{metric}", patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop again, after one step, if the run was killed between early stopping and its end."""
        self.on_evaluate(args, state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after enough validations without an improvement; the base model's does not count."""
        curve = [entry[self._key] for entry in state.log_history if self._key in entry and entry["step"]]
        if curve and len(curve) - 1 - curve.index(max(curve)) >= self._patience:
            control.should_training_stop = True


class TrainingProgress(TrainerCallback):
    """Shows steps, loss, learning rate, speed and time left: a bar on a terminal, otherwise lines.

    Validation results and saved checkpoints get their own lines. Speed and time left use the steps since this process
    began, so they are right after a resume, and include validations so far.
    """

    def __init__(
        self,
        tokens: Callable[[], int] | None = None,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the callback.

        Args:
            tokens: gives the tokens seen so far. By default the trainer's count; if that stays 0, examples are shown.
            stream: where to write; by default standard error.
            clock: gives seconds.
        """
        self._tokens = tokens
        self._stream = stream or sys.stderr
        self._clock = clock
        self._start: tuple[float, int, int] | None = None  # seconds, steps and tokens when this process began to train
        self._last_line = 0.0
        self._logs: dict[str, Any] = {}
        self._bar: Bar | None = None

    def say(self, text: str) -> None:
        """Write a line, above the bar if there is one."""
        if self._bar is None:
            print(f"fin train: {text}", file=self._stream, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar. The caller must do so in `finally`, since the trainer calls nothing when it fails."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Announce the number of steps, and start the bar."""
        if not state.is_world_process_zero:
            return
        self._start, self._logs, self._last_line = None, {}, self._clock()
        resumed = f", resumed after step {state.global_step}" if state.global_step else ""
        self.say(f"{state.max_steps} steps{resumed}")
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._bar.add_task("", total=state.max_steps, completed=state.global_step)
            self._bar.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the previous step, whose logs and validation are complete now."""
        if not state.is_world_process_zero:
            return
        if self._start is None:  # after a resume, skipping the used data takes time before the first step
            self._start = (self._clock(), state.global_step, self._tokens_seen(state))
            return
        interval = max(_LINE_INTERVAL, _LINE_SHARE * self._seconds())
        if self._bar is not None or self._clock() - self._last_line >= interval:
            self._show(args, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Remember loss and learning rate."""
        self._logs |= {name: value for name, value in (logs or {}).items() if name in ("loss", "learning_rate")}

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Show the results of a validation."""
        if state.is_world_process_zero:
            self._show(args, state)
            self.say(f"validation at step {state.global_step}: {_format_results(metrics or {})}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report the checkpoint that a stopped run would resume from."""
        if state.is_world_process_zero:
            self.say(f"checkpoint of step {state.global_step} saved")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the last step and the total time."""
        if not state.is_world_process_zero:
            return
        self._show(args, state)
        self.close()
        if self._start is not None:
            self.say(f"trained {state.global_step - self._start[1]} steps in {duration(self._seconds())}")

    def _show(self, args: Any, state: Any) -> None:
        details = [text for text in (*self._losses(), self._speed(args, state), self._time_left(state)) if text]
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=state.global_step, description=", ".join(details))
            return
        self._last_line = self._clock()
        percent = 100 * state.global_step // max(state.max_steps, 1)
        self.say(", ".join([f"step {state.global_step}/{state.max_steps} ({percent} %)", *details]))

    def _losses(self) -> list[str]:
        labels = {"loss": ("loss", ".3f"), "learning_rate": ("learning rate", ".2g")}
        return [
            f"{label} {float(self._logs[name]):{form}}" for name, (label, form) in labels.items() if name in self._logs
        ]

    def _speed(self, args: Any, state: Any) -> str:
        if self._start is None or self._seconds() <= 0:
            return ""
        tokens = self._tokens_seen(state) - self._start[2]
        if tokens > 0:
            return f"{tokens / self._seconds():,.0f} tokens/s"
        examples_per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        return f"{(state.global_step - self._start[1]) * examples_per_step / self._seconds():.1f} examples/s"

    def _time_left(self, state: Any) -> str:
        done = state.global_step - self._start[1] if self._start is not None else 0
        if done <= 0 or state.global_step >= state.max_steps:
            return ""
        return f"{duration((state.max_steps - state.global_step) * self._seconds() / done)} left"

    def _seconds(self) -> float:
        return self._clock() - self._start[0] if self._start is not None else 0.0

    def _tokens_seen(self, state: Any) -> int:
        return self._tokens() if self._tokens is not None else int(state.num_input_tokens_seen)


def _bar(stream: TextIO) -> Bar:
    columns = (BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}"),
               TextColumn("{task.description}", markup=False))  # fmt: skip
    # Output to a standard output that is not a terminal must go there, not above the bar.
    return Bar(*columns, console=Console(file=stream), redirect_stdout=sys.stdout.isatty(), refresh_per_second=4)


def _format_results(metrics: Mapping[str, Any]) -> str:
    """The metric that compares checkpoints, and with several tasks that of each; the record has the others."""
    results = {name.removeprefix("eval_"): value for name, value in metrics.items() if not name.endswith(_NOT_RESULTS)}
    means = [name for name in results if "/" not in name]
    tasks = [name for name in results if "/" in name and name.partition("/")[2] in means]
    names = means + (tasks if len(tasks) > 1 else [])
    return ", ".join(f"{name.partition('/')[0]} {_format_number(results[name])}" for name in names)


def _format_number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
