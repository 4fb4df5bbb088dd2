"""The model card: the record of a training run in words, as the README.md that a model hub shows."""

import re
from collections.abc import Callable
from pathlib import Path

import jinja2
import yaml

from fin_plugins.common.markdown import escape, inline_code, number, single_line, table_cell
from fin_plugins.training.report import card_tables, card_use
from fin_plugins.training.report.plot import FILE as PLOT
from fin_plugins.training.report.record import Record, TaskData

FILE = "README.md"
_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)


def model_card(record: Record) -> str:
    """The text of the card: Markdown with the hub's YAML in front. It shows the plot where there is a loss curve.

    Names come from users and data, so they are put in as text: no markup, no HTML, no line breaks, no YAML.
    """
    # No autoescape: this is Markdown, not HTML; the filters escape for it.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)  # noqa: S701
    environment.filters |= {"words": escape, "code": inline_code, "cell": table_cell, "figure": number}
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        full=record.method == "full",
        plot=PLOT,
        front=_front(record),
        base=card_use.base_in_words(record),
        warnings=warnings(record),
        **card_tables.tables(record),
        **card_use.use(record),
    )
    return text.rstrip() + "\n"


def warnings(record: Record) -> list[str]:
    """What a reader must know before using the model or quoting its scores: a paragraph of Markdown each."""
    found = [
        _of_tasks(record, lambda task: task.origin == "sample", _SAMPLE),
        _of_tasks(record, lambda task: task.seen is False, _UNSEEN),
        _LEAKS if record.keep_leaks else "",
        _unchecked(record),
        _of_tasks(record, lambda task: bool(_NON_COMMERCIAL.search(task.licence or "")), _LICENCE),
        _NOT_FINITE if any(number(point.loss) in _NO_NUMBERS for point in record.loss_curve) else "",
    ]
    return [warning for warning in found if warning]


_SAMPLE = (
    "**Sample rows, no benchmark.** For {} the few rows that ship with fin-plugins were used, which are for trying it "
    "out, not the real data. Scores of this model on them say nothing about its quality."
)
_UNSEEN = (
    "**Trained on unseen tasks.** Marked unseen, and trained on all the same: {}. They are there to measure what a "
    "model does on tasks it was not trained on; scores of this model on them must not be reported as such."
)
_LEAKS = (
    "**Leaks kept.** Train rows whose text also stands in a test set were not removed (`keep_leaks`): scores on those "
    "test sets may be too high."
)
_UNCHECKED = (
    "**Not checked against all test sets.** The rows of {} were not on the machine, so train rows that stand in their "
    "test sets may have been trained on."
)
_LICENCE = (
    "**Non-commercial data.** A licence stated for the data of {} forbids commercial use; read it before you use the "
    "model in a product."
)
_NOT_FINITE = (
    "**The loss was not a finite number at some steps.** Training went wrong there; do not rely on this model."
)
_NO_NUMBERS = ("–", "inf", "-inf")


def _of_tasks(record: Record, applies: Callable[[TaskData], bool], warning: str) -> str:
    names = [inline_code(task.task) for task in record.tasks if applies(task)]
    return warning.format(", ".join(names)) if names else ""


def _unchecked(record: Record) -> str:
    return _UNCHECKED.format(", ".join(map(inline_code, record.leaks_unchecked))) if record.leaks_unchecked else ""


def _front(record: Record) -> str:
    """The hub's metadata. The base is named only where it is on the hub: the hub refuses anything else."""
    full = record.method == "full"
    # The licence follows from the base's and the data's, which no program can settle: the card says what is known.
    library = "transformers" if full else "peft"
    front = {"model_name": single_line(record.name), "library_name": library, "license": "other"}
    hub = card_use.hub_name(record)
    if hub:
        front |= {"base_model": hub, "base_model_relation": "finetune" if full else "adapter"}
    tags = [*([] if full else ["lora"]), "finance", "text-classification", "fin-plugins"]
    return yaml.safe_dump(
        {**front, "pipeline_tag": "text-generation", "tags": tags}, sort_keys=False, allow_unicode=True, width=10_000
    ).strip()
