"""Names and figures as text, the same in every output file."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from fin_plugins.board.board_data import MAIN_METRIC, Board, Estimate, Rank
from fin_plugins.common.locations import task_folder
from fin_plugins.common.markdown import single_line

METRIC_NAMES = {"acc": "Accuracy", "weighted_f1": "Weighted F1", "macro_f1": "Macro F1", "mcc": "MCC"}
RATE_NAMES = {"missing": "No label named", "ambiguous": "Several labels named"}
PROTOCOL_NAMES = {"choice": "by label likelihood", "gen": "by written answer"}
PROTOCOL_SENTENCES = {
    "choice": "The answer is the label with the highest likelihood.",
    "gen": "The model writes an answer, from which the label is parsed; naming no label or several counts as wrong.",
}
DATA_NAMES = {"real": "Real data", "unknown": "Data not stated", "sample": "Sample data"}
DATA_SENTENCES = {
    "real": "Rows of the published data sets.",
    "unknown": "The tasks do not say which rows they ran on; compare with care.",
    "sample": (
        "A few rows written for trying things out: figures on them say nothing about a model's quality and are never "
        "compared with those on real data."
    ),
}
GROUP_NAMES = {"seen": "seen tasks", "unseen": "unseen tasks", "all": "all tasks"}
NO_FIGURE = "–"
MINUS = "−"
_MAX_TASKS_NAMED = 5


def data_sentence(data: str, tasks: Sequence[str]) -> str:
    """Which rows the tasks of a block have: those of published data sets, or users' own."""
    custom = [single_line(task) for task in dict.fromkeys(tasks) if task not in _published_tasks()]
    if data != "real" or not custom:
        return DATA_SENTENCES.get(data, "")
    names = ", ".join(custom[:_MAX_TASKS_NAMED])
    names += f" and {len(custom) - _MAX_TASKS_NAMED} more" if len(custom) > _MAX_TASKS_NAMED else ""
    if len(custom) == len(set(tasks)):
        return f"Rows of users' own data, not of the published data sets: {names}."
    return f"Rows of the published data sets; of users' own data: {names}."


@lru_cache(maxsize=1)
def _published_tasks() -> frozenset[str]:
    """Names without `_gen` of the package's tasks, which are on published data sets."""
    return frozenset(file.stem for file in (task_folder() / "fin").glob("fin_*.yaml"))


def main_metric(board: Board) -> str:
    """The metric to show first; accuracy if no result has the usual one."""
    has_main_metric = any(MAIN_METRIC in cell.figures for cell in board.cells.values())
    return MAIN_METRIC if has_main_metric or not board.cells else "acc"


def metric_name(metric: str) -> str:
    """Display name of a metric."""
    return METRIC_NAMES.get(metric, metric)


def printable(text: str) -> str:
    """The text with spaces for control characters, such as bidirectional overrides that reorder what follows.

    Right-to-left text stays as it is. What UTF-8 cannot encode is replaced as well.
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def percent(value: float | None, *, signed: bool = False) -> str:
    """A share in percent with one decimal; a dash for None and nan."""
    if value is None or value != value:
        return NO_FIGURE
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    if float(text) == 0:  # zero has no sign
        return "0.0"
    return text.replace("-", MINUS)


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """The ends of the interval in percent; empty if there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    ends = percent(estimate.low, signed=signed), percent(estimate.high, signed=signed)
    # A dash between signed ends could be read as a minus sign.
    return " to ".join(ends) if signed or MINUS in "".join(ends) else "–".join(ends)


def with_interval(estimate: Estimate | None, *, signed: bool = False) -> str:
    """A figure with its interval in parentheses."""
    if estimate is None:
        return NO_FIGURE
    ends = interval(estimate, signed=signed)
    return percent(estimate.value, signed=signed) + (f" ({ends})" if ends else "")


def rank_text(rank: Rank) -> str:
    """A rank with its interval, if that holds more than one rank."""
    ends = f" ({rank.low}–{rank.high})" if rank.low is not None and rank.low != rank.high else ""
    return f"{rank.rank}{ends}"


def p_value(p: float) -> str:
    """A p-value with three decimals, never 0.000."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def date(seconds: float) -> str:
    """A time in UTC; midnight without the hour, and a dash for 0."""
    if not seconds:
        return NO_FIGURE
    time = datetime.fromtimestamp(seconds, UTC)
    return time.strftime("%Y-%m-%d UTC" if seconds % (24 * 3600) == 0 else "%Y-%m-%d %H:%M UTC")


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 model`, `2 models`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
