"""How figures and names are put into words, the same in every output."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fin_plugins.board.model import Board, Estimate, Rank
from fin_plugins.common.locations import task_folder

METRIC_NAMES = {"acc": "Accuracy", "weighted_f1": "Weighted F1", "macro_f1": "Macro F1", "mcc": "MCC"}
RATE_NAMES = {"missing": "No label named", "ambiguous": "Several labels named"}
PROTOCOL_NAMES = {"choice": "by label likelihood", "gen": "by written answer"}
PROTOCOL_SENTENCES = {
    "choice": "The answer is the label to which the model gives the highest likelihood.",
    "gen": "The model writes an answer, which is read; one that names no label or several is wrong.",
}
DATA_NAMES = {"real": "Real data", "unknown": "Data not stated", "sample": "Sample data"}
DATA_SENTENCES = {
    "real": "Rows of the published data sets.",
    "unknown": "The tasks do not say which rows they ran on; compare with care.",
    "sample": (
        "A few rows that were written to try things out: figures on them say nothing about a model's quality and are "
        "never compared with those on real data."
    ),
}
GROUP_NAMES = {"seen": "seen tasks", "unseen": "unseen tasks", "all": "all tasks"}
NONE = "–"
_NAMED = 5
MINUS = "−"


def data_sentence(data: str, tasks: Sequence[str]) -> str:
    """Which rows a block's tasks have: those of the published data sets, or tables of the users' own."""
    others = [line(task) for task in dict.fromkeys(tasks) if task not in shipped_tasks()]
    if data != "real" or not others:
        return DATA_SENTENCES.get(data, "")
    named = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
    if len(others) == len(set(tasks)):
        return f"Rows of users' own data, not of the published data sets: {named}."
    return f"Rows of the published data sets; of users' own data: {named}."


@lru_cache(maxsize=1)
def shipped_tasks() -> frozenset[str]:
    """Names of the tasks on published data sets that come with the package, without `_gen`."""
    return frozenset(file.stem for file in (task_folder() / "fin").glob("fin_*.yaml"))


def main_metric(board: Board) -> str:
    """The metric to show first: the papers' weighted F1, or accuracy where nothing else is known."""
    has_f1 = any("weighted_f1" in cell.figures for cell in board.cells.values())
    return "weighted_f1" if has_f1 or not board.cells else "acc"


def name_of(metric: str) -> str:
    """A metric's or rate's name, for people."""
    return METRIC_NAMES.get(metric) or RATE_NAMES.get(metric) or metric


def printable(text: str) -> str:
    """The text with blanks for control signs: they could reorder what stands beside them.

    Text that runs from right to left stays as it is, only its overrides go. What UTF-8 cannot take goes too.
    """
    return text if text.isprintable() else "".join(sign if sign.isprintable() else " " for sign in text)


def line(value: Any) -> str:
    """The value as printable text on one line, single blanks between words."""
    return " ".join(printable(str(value)).split())


def percent(value: float | None, *, signed: bool = False) -> str:
    """A share as per cent with one decimal; a dash where there is none or where it is not a number."""
    if value is None or value != value:
        return NONE
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    if float(text) == 0:  # no sign before 0.0
        return "0.0"
    return text.replace("-", MINUS)


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """Both ends of the interval as per cent; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    ends = percent(estimate.low, signed=signed), percent(estimate.high, signed=signed)
    # A dash between signed ends could be read as a minus.
    return " to ".join(ends) if signed or MINUS in "".join(ends) else "–".join(ends)


def estimated(estimate: Estimate | None, *, signed: bool = False) -> str:
    """A figure with its interval in brackets, on one line."""
    if estimate is None:
        return NONE
    ends = interval(estimate, signed=signed)
    return percent(estimate.value, signed=signed) + (f" ({ends})" if ends else "")


def place(rank: Rank) -> str:
    """A place with those that chance could have given, where they are known and more than one."""
    span = f" ({rank.low}–{rank.high})" if rank.low is not None and rank.low != rank.high else ""
    return f"{rank.rank}{span}"


def p_value(p: float) -> str:
    """A p value with three decimals; what would be 0.000 says so."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def date(seconds: float) -> str:
    """A time, in UTC wherever the page is made; a whole day without its hour, and a dash where nothing is known."""
    if not seconds:
        return NONE
    time = datetime.fromtimestamp(seconds, UTC)
    return time.strftime("%Y-%m-%d UTC" if seconds % (24 * 3600) == 0 else "%Y-%m-%d %H:%M UTC")


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 model`, `2 models`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
