"""Progress of a training, with a controlled clock, in the order of the trainer's calls."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from fin_plugins.training.train_callbacks import TrainingProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Run:
    """A training run of 4 examples a step, seen by the progress."""

    def __init__(self, folder: Path, steps: int, step: int = 0, **given: Any) -> None:
        self.now = 1000.0
        self.stream = given.pop("stream", None) or io.StringIO()
        self.args = TrainingArguments(
            output_dir=str(folder), per_device_train_batch_size=2, gradient_accumulation_steps=2, use_cpu=True
        )
        self.state, self.control = TrainerState(max_steps=steps, global_step=step), TrainerControl()
        self.progress = TrainingProgress(stream=self.stream, clock=lambda: self.now, **given)

    def tell(self, event: str, **more: Any) -> None:
        getattr(self.progress, f"on_{event}")(self.args, self.state, self.control, **more)

    def step(self, seconds: float, loss: float | None = None, tokens: int = 0) -> None:
        self.tell("step_begin")
        self.now += seconds
        self.state.global_step += 1
        self.state.num_input_tokens_seen += tokens
        self.tell("step_end")
        if loss is not None:
            self.tell("log", logs={"loss": loss, "learning_rate": 1.9e-4, "grad_norm": 0.3, "epoch": 0.1})

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_lines_come_every_ten_seconds_with_all_in_them(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=450)
    run.tell("train_begin")
    for _ in range(41):
        run.step(0.8, loss=0.4124)
    assert run.lines() == [
        "fin train: 450 steps",
        "fin train: step 13/450 (2 %), loss 0.412, learning rate 0.00019, 5.0 examples/s, 6 min left",
        "fin train: step 26/450 (5 %), loss 0.412, learning rate 0.00019, 5.0 examples/s, 6 min left",
        "fin train: step 39/450 (8 %), loss 0.412, learning rate 0.00019, 5.0 examples/s, 5 min left",
    ]


def test_a_line_of_a_step_has_that_steps_loss(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=9)
    run.tell("train_begin")
    for number in range(3):
        run.step(20, loss=float(number))
    assert [line.split(", ")[1] for line in run.lines()[1:]] == ["loss 0.000", "loss 1.000"]
    assert run.lines()[-1].startswith("fin train: step 2/9 ")


def test_after_a_resume_speed_and_time_left_are_of_this_run(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=450, step=400)
    run.state.num_input_tokens_seen = 1_000_000
    run.tell("train_begin")
    run.now += 300  # the data seen before is skipped
    for _ in range(11):
        run.step(2, tokens=100)
    assert run.lines()[0] == "fin train: 450 steps, resumed after step 400"
    assert run.lines()[1] == "fin train: step 401/450 (89 %), 50 tokens/s, 2 min left"  # patience was over: 300 s
    assert run.lines()[-1] == "fin train: step 406/450 (90 %), 50 tokens/s, 88 s left"
    run.tell("train_end")
    assert run.lines()[-1] == "fin train: trained 11 steps in 22 s"


def test_a_count_of_tokens_that_is_given_is_used(tmp_path: Path) -> None:
    counted = iter([500, 700])
    run = Run(tmp_path, steps=4, tokens=lambda: next(counted))
    run.tell("train_begin")
    run.step(20, tokens=9)
    run.tell("step_begin")
    assert run.lines()[-1] == "fin train: step 1/4 (25 %), 10 tokens/s, 60 s left"


def test_a_long_run_gets_no_endless_log(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=36_000)
    run.tell("train_begin")
    for _ in range(36_000):
        run.step(1)
    assert 300 < len(run.lines()) < 800
    early, late = run.lines()[1:3], run.lines()[-2:]
    assert [int(re.findall(r"step (\d+)", line)[0]) for line in early] == [10, 20]
    first, second = (int(re.findall(r"step (\d+)", line)[0]) for line in late)
    assert 300 < second - first < 400


def test_validation_and_checkpoint_are_told_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=10)
    run.tell("train_begin")
    run.step(1, loss=0.5)
    metrics = {"eval_macro_f1": 0.61234, "eval_[fpb]_acc": 0.5, "eval_runtime": 3.0, "epoch": 1.0,
               "eval_samples_per_second": 7.0, "eval_rows": 200}  # fmt: skip
    run.tell("evaluate", metrics=metrics)
    run.tell("save")
    assert run.lines()[1:] == [
        "fin train: step 1/10 (10 %), loss 0.500, learning rate 0.00019, 4.0 examples/s, 9 s left",
        "fin train: validation at step 1: macro_f1 0.6123, [fpb]_acc 0.5000, rows 200",
        "fin train: checkpoint of step 1 saved",
    ]


def test_time_left_counts_validations_still_to_come(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=4)
    run.tell("train_begin")
    run.step(5)
    run.step(5)
    run.now += 30
    run.tell("evaluate", metrics={"eval_acc": 1.0})
    assert run.lines()[1].endswith(", 40 s left")


def test_the_end_shows_the_last_step_and_no_time_left(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=2)
    run.tell("train_begin")
    run.step(1, loss=float("nan"))
    run.step(1, loss=float("nan"))
    run.tell("log", logs={"train_runtime": 2.0, "train_loss": 0.9})
    run.tell("train_end")
    assert run.lines()[1:] == [
        "fin train: step 2/2 (100 %), loss nan, learning rate 0.00019, 4.0 examples/s",
        "fin train: trained 2 steps in 2 s",
    ]


def test_nothing_to_train_is_no_error(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=0)
    run.tell("train_begin")
    run.tell("train_end")
    assert run.lines() == ["fin train: 0 steps", "fin train: step 0/0 (0 %)"]


def test_only_one_process_speaks(tmp_path: Path) -> None:
    run = Run(tmp_path, steps=2)
    run.state.is_world_process_zero = False
    run.tell("train_begin")
    run.step(50, loss=0.5)
    run.step(50, loss=0.5)
    for event in ("evaluate", "save", "train_end"):
        run.tell(event)
    assert run.lines() == []


def test_on_a_terminal_there_is_a_bar_and_lines_stand_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    run = Run(tmp_path, steps=450, step=38, stream=Terminal())
    run.tell("train_begin")
    run.step(0.8, loss=0.41)
    run.step(0.8, loss=0.41)
    run.tell("evaluate", metrics={"eval_[red]": 0.5})
    run.tell("save")
    run.tell("train_end")
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", run.stream.getvalue())
    assert "40/450 loss 0.410, learning rate 0.00019, 5.0 examples/s, 5 min left" in output
    assert "validation at step 40: [red] 0.5000\n" in output
    assert "checkpoint of step 40 saved\n" in output
    assert "fin train: step" not in output
    assert run.stream.getvalue().rindex("\x1b[?25h") > run.stream.getvalue().rindex("\x1b[?25l")  # the cursor is back


def test_close_takes_the_bar_away_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    run = Run(tmp_path, steps=450, stream=Terminal())
    run.progress.close()
    run.tell("train_begin")
    assert not run.stream.getvalue().endswith("\x1b[?25h")
    run.progress.close()
    assert run.stream.getvalue().endswith("\x1b[?25h")
    run.progress.say("failed")
    assert run.lines()[-1].endswith("fin train: failed")
