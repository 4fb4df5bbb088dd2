"""The prompt of one row, made by lm-eval itself, as a model would get it."""

import io
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.checks.rows.rendering import limits_for_lm_eval
from fin_plugins.common.errors import FinError
from fin_plugins.compat.lm_eval.tasks import TaskIndex

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


@dataclass(frozen=True)
class Prompt:
    """What a model is asked.

    Attributes:
        text: the whole prompt.
        answers: the continuations whose likelihood is compared; none where the model answers freely.
    """

    text: str
    answers: list[str]


def load(file: Path, name: str) -> "ConfigurableTask":
    """lm-eval's own object of a task file.

    Raises:
        FinError: its rows cannot be read, or lm-eval cannot make a task of it.
    """
    from fin_plugins.common.logs import silence_loggers

    index = TaskIndex()
    index.add_file(file, name)
    try:
        with (
            silence_loggers("lm_eval.api.task"),
            limits_for_lm_eval(),
        ):  # it explains --metadata at every custom data set
            return index.load(name)[name]
    except FinError:
        raise
    except Exception as error:  # whatever a wrong key leads to, deep inside lm-eval
        first = next(iter(str(error).splitlines()), "")
        raise FinError(
            f"{file}: lm-eval cannot make a task of it ({type(error).__name__}: {first}); "
            f"`fin task check {file}` may say why"
        ) from error


def prompt(task: "ConfigurableTask", split: str, row: int, lm: Any | None = None) -> Prompt:
    """The prompt of a row, without few-shot examples.

    Args:
        task: as loaded.
        split: whose row it is.
        row: counted from 0.
        lm: an lm-eval model whose chat template is used; the plain form without one.

    Raises:
        FinError: there is no such split or row, or the model has no chat template.
    """
    _check(task, split, row)
    evaluated, task.config.test_split = task.config.test_split, split
    try:
        with redirect_stderr(io.StringIO()), limits_for_lm_eval():  # lm-eval's bar, here over one row, has no switch
            task.build_all_requests(
                samples=[row],
                apply_chat_template=lm is not None,
                fewshot_as_multiturn=lm is not None,  # as lm-eval's command line has it
                chat_template=lm.apply_chat_template if lm else None,
                tokenizer_name=lm.tokenizer_name if lm else "",
            )
    except Exception as error:  # a template can go wrong over one row in as many ways as Python can
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise FinError(f"{task.config.task}: no prompt can be made of row {row} ({first})") from error
    finally:
        task.config.test_split = evaluated
    choice = task.OUTPUT_TYPE == "multiple_choice"
    return Prompt(str(task.instances[0].args[0]), [str(one.args[1]) for one in task.instances] if choice else [])


def _check(task: "ConfigurableTask", split: str, row: int) -> None:
    if split not in task.dataset:
        raise FinError(f"{task.config.task}: no split {split}; there are {', '.join(task.dataset)}")
    rows = len(task.dataset[split])
    if row >= rows:
        raise FinError(f"{task.config.task}: --row {row}: {split} has {rows:,} rows, counted from 0")
