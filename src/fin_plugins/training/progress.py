"""What training shows while it works: a bar on a terminal, plain lines elsewhere. All on standard error."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from transformers import TrainerCallback

from fin_plugins.common.formatting import duration

_EVERY = 10.0  # seconds between two plain lines, at least
_SHARE = 0.01  # of the time so far, too: a night's log stays a few hundred lines
# What the trainer adds to a validation's results about itself.
_NO_RESULTS = ("runtime", "_per_second", "epoch", "num_tokens", "model_preparation_time")


class Progress(TrainerCallback):
    """Step, loss, learning rate, speed, time left; validation results and saved checkpoints as they come.

    Speed and time left are of this run's own steps, so they are right after a resume. Validations so far are in the
    time left, as they will be in the time to come.
    """

    def __init__(
        self,
        tokens: Callable[[], int] | None = None,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take where to write.

        Args:
            tokens: tells the tokens seen since training began, resumed parts included or not; without it, the
                trainer's own count, and where it keeps none, examples are shown.
            stream: standard error if None.
            clock: seconds, from any start.
        """
        self._tokens = tokens
        self._stream = stream or sys.stderr
        self._clock = clock
        self._begin: tuple[float, int, int] | None = None  # seconds, steps and tokens when this run's work began
        self._last_line = 0.0
        self._logged: dict[str, Any] = {}
        self._bar: Bar | None = None

    def say(self, text: str) -> None:
        """Write one line, above the bar where there is one."""
        if self._bar is None:
            print(f"fin train: {text}", file=self._stream, flush=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away. For the caller's `finally`: the trainer does not say when it fails."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say what is to come."""
        if not state.is_world_process_zero:
            return
        self._begin, self._logged, self._last_line = None, {}, self._clock()
        self.say(
            f"{state.max_steps} steps" + (f", resumed after step {state.global_step}" if state.global_step else "")
        )
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._bar.add_task("", total=state.max_steps, completed=state.global_step)
            self._bar.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the step before: only now are its logs and its validation in."""
        if not state.is_world_process_zero:
            return
        if self._begin is None:  # the data's skipped part, after a resume, is behind now
            self._begin = (self._clock(), state.global_step, self._tokens_seen(state))
        elif self._bar is not None or self._clock() - self._last_line >= self._patience():
            self._show(args, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Keep loss and learning rate."""
        self._logged |= {name: value for name, value in (logs or {}).items() if name in ("loss", "learning_rate")}

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Show a validation's results."""
        if state.is_world_process_zero:
            self._show(args, state)
            self.say(f"validation at step {state.global_step}: {_results(metrics or {})}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say that a killed run would go on from here."""
        if state.is_world_process_zero:
            self.say(f"checkpoint of step {state.global_step} saved")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the last step, and how long it all took."""
        if not state.is_world_process_zero:
            return
        self._show(args, state)
        self.close()
        if self._begin is not None:
            self.say(f"trained {state.global_step - self._begin[1]} steps in {duration(self._seconds())}")

    def _show(self, args: Any, state: Any) -> None:
        parts = [part for part in (*self._losses(), self._speed(args, state), self._left(state)) if part]
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=state.global_step, description=", ".join(parts))
            return
        self._last_line = self._clock()
        done = f"step {state.global_step}/{state.max_steps} ({_percent(state.global_step, state.max_steps)} %)"
        self.say(", ".join([done, *parts]))

    def _losses(self) -> list[str]:
        names = {"loss": ("loss", ".3f"), "learning_rate": ("learning rate", ".2g")}
        return [f"{shown} {float(self._logged[name]):{form}}" for name, (shown, form) in names.items()
                if name in self._logged]  # fmt: skip

    def _speed(self, args: Any, state: Any) -> str:
        if self._begin is None or self._seconds() <= 0:
            return ""
        tokens = self._tokens_seen(state) - self._begin[2]
        if tokens > 0:
            return f"{tokens / self._seconds():,.0f} tokens/s"
        step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        return f"{(state.global_step - self._begin[1]) * step / self._seconds():.1f} examples/s"

    def _left(self, state: Any) -> str:
        done = state.global_step - self._begin[1] if self._begin is not None else 0
        if done <= 0 or state.global_step >= state.max_steps:
            return ""
        return f"{duration((state.max_steps - state.global_step) * self._seconds() / done)} left"

    def _patience(self) -> float:
        return max(_EVERY, _SHARE * self._seconds())

    def _seconds(self) -> float:
        return self._clock() - self._begin[0] if self._begin is not None else 0.0

    def _tokens_seen(self, state: Any) -> int:
        return self._tokens() if self._tokens is not None else int(state.num_input_tokens_seen)


def _bar(stream: TextIO) -> Bar:
    columns = (BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}"),
               TextColumn("{task.description}", markup=False))  # fmt: skip
    # What is printed on a standard output that is no terminal must go there, not above the bar.
    return Bar(*columns, console=Console(file=stream), redirect_stdout=sys.stdout.isatty(), refresh_per_second=4)


def _percent(done: int, total: int) -> int:
    return 100 * done // max(total, 1)


def _results(metrics: Mapping[str, Any]) -> str:
    """The metric that decides, and where there are several tasks each task's; the others stand in the record."""
    shown = {name.removeprefix("eval_"): value for name, value in metrics.items() if not name.endswith(_NO_RESULTS)}
    means = [name for name in shown if "/" not in name]
    tasks = [name for name in shown if "/" in name and name.partition("/")[2] in means]
    chosen = means + (tasks if len(tasks) > 1 else [])
    return ", ".join(f"{name.partition('/')[0]} {_figure(shown[name])}" for name in chosen)


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
