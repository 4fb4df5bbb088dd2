"""The evaluation section of a model card on the Hugging Face hub.

Two forms of metadata, because the hub reads both: `model-index` in the card's front matter
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md?plain=1) and the newer files `.eval_results/*.yaml` of a
model repository (https://huggingface.co/docs/hub/eval-results), which take one value a task and show only data sets
that are registered as benchmarks. Intervals, floors and rates have no place in either: they stand in the table between.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from fin_plugins.board.model import METRICS, Board, Cell, Column, Estimate
from fin_plugins.common.errors import FinError

_Run = tuple[Column, Cell]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: `*id001` is for no reader of a card."""
        return True


_HUB_METRICS: dict[str, dict[str, Any]] = {
    "acc": {"type": "accuracy", "name": "Accuracy (%)"},
    "weighted_f1": {"type": "f1", "name": "Weighted F1 (%)", "args": {"average": "weighted"}},
    "macro_f1": {"type": "f1", "name": "Macro F1 (%)", "args": {"average": "macro"}},
    "mcc": {"type": "matthews_correlation", "name": "MCC (%)"},
}
_HEADS = {"acc": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1", "mcc": "MCC"}
_PROTOCOLS = {"choice": "label likelihood", "gen": "generation"}
_VALUE = "weighted_f1"
_PLACEHOLDER = "OWNER/BENCHMARK"


def card(board: Board, model: str, *, benchmark: str | None = None) -> str:
    """The section, ready to be pasted: front matter, a Markdown table, and the eval-results file as a block of code.

    Only whole runs on real data are in it: a reader of a card sees a number and no condition.

    Args:
        board: holds the model's cells.
        model: name on the board.
        benchmark: data set on the hub that the eval-results entries name; a placeholder where None.

    Raises:
        FinError: the model has no whole run on real data.
    """
    runs = list(_runs(board, model))
    if not runs:
        raise FinError(f"{model}: no whole run on real data; a card is not for embedded, unknown or cut-off rows")
    name = " ".join(model.split())  # on one line: front matter ends at the next `---`
    index = {"model-index": [{"name": name, "results": [_result(column, cell) for column, cell in runs]}]}
    results = [_eval_result(column, cell, benchmark or _PLACEHOLDER) for column, cell in _one_a_task(runs)]
    return "\n".join(
        [
            f"---\n{_yaml(index)}---\n",
            *_section(board, runs),
            "<!-- A file of its own in the model's repository: .eval_results/fin_plugins.yaml -->",
            *([] if benchmark else [f"<!-- {_PLACEHOLDER}: a data set that the hub has registered as a benchmark -->"]),
            f"```yaml\n{_yaml(results)}```\n",
        ]
    )


def _runs(board: Board, model: str) -> Iterator[_Run]:
    for column in board.columns:
        cell = board.cells.get((column.key, model))
        if cell and column.conditions.data == "real" and column.conditions.limit is None:
            yield column, cell


def _one_a_task(runs: Sequence[_Run]) -> list[_Run]:
    """The eval-results form knows no conditions: of several runs of a task, the first column's."""
    return list({_task(column): (column, cell) for column, cell in reversed(runs)}.values())[::-1]


def _result(column: Column, cell: Cell) -> dict[str, Any]:
    """An entry of `model-index`; its `config` tells columns of the same task apart."""
    conditions = column.conditions
    asked = {"num_few_shot": conditions.shots, "chat_template": conditions.chat, "task_version": conditions.version}
    return {
        "task": {"type": "text-classification", "name": _PROTOCOLS[column.protocol]},
        "dataset": {"type": _task(column), "name": column.title, "config": column.key, "split": "test", "args": asked},
        "metrics": [
            {**_HUB_METRICS[metric], "value": _percent(cell.figures[metric].value)}
            for metric in METRICS
            if metric in cell.figures
        ],
    }


def _eval_result(column: Column, cell: Cell, benchmark: str) -> dict[str, Any]:
    figure = cell.figures[_VALUE]
    return {
        "dataset": {"id": benchmark, "task_id": _task(column)},
        "value": _percent(figure.value),
        "date": datetime.fromtimestamp(cell.entry.source.date, UTC).date().isoformat(),
        "notes": f"{_HEADS[_VALUE]} in %{_between(figure, ', 95 % interval ', '')}; {_asked(column)}",
    }


def _section(board: Board, runs: Sequence[_Run]) -> Iterator[str]:
    rates = any(column.protocol == "gen" for column, _ in runs)
    heads = ["task", "asked by", "rows", *_HEADS.values(), *(["no label named"] if rates else []), "floor"]
    yield "## Evaluation\n"
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for column, cell in runs:
        figures = [_shown(cell, metric) for metric in METRICS]
        missing = [_shown(cell, "missing")] if rates else []
        floor = f"{100 * cell.floors[_VALUE]:.1f}" if _VALUE in cell.floors else ""
        line = [_escaped(column.key), _asked(column), f"{cell.entry.n:,}", *figures, *missing, floor]
        yield f"| {' | '.join(line)} |"
    yield ""
    yield from _explained(board, runs)


def _explained(board: Board, runs: Sequence[_Run]) -> Iterator[str]:
    yield "In percent, with 95 % bootstrap intervals over documents where the answers were kept. The floor is the"
    yield "weighted F1 of always giving the most frequent label; * marks a figure whose interval does not lie above"
    yield "what that scores.\n"
    differs = [f"{column.key}: {column.explanation}" for column, _ in runs if column.explanation]
    notes = [note for _, cell in runs for note in cell.entry.notes]
    yield from (f"- {_escaped(line)}" for line in dict.fromkeys([*differs, *notes]))
    made = ", ".join(f"{name} {value}" for name, value in board.made_with.items())
    yield f"Made by `fin board card` of fin-plugins ({_escaped(made)}).\n"


def _shown(cell: Cell, name: str) -> str:
    if name not in cell.figures:
        return ""
    figure = cell.figures[name]
    return f"{100 * figure.value:.1f}{_between(figure, ' (', ')')}{' *' if name in cell.not_above else ''}"


def _between(figure: Estimate, before: str, after: str) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{before}{100 * figure.low:.1f} to {100 * figure.high:.1f}{after}"


def _asked(column: Column) -> str:
    chat = ", chat template" if column.conditions.chat else ""
    return f"{_PROTOCOLS[column.protocol]}, {column.conditions.shots}-shot{chat}"


def _task(column: Column) -> str:
    """lm-eval's name for it."""
    return column.task + ("_gen" if column.protocol == "gen" else "")


def _percent(value: float) -> float:
    return round(100 * value, 2)


def _escaped(text: str) -> str:
    """One cell of a Markdown table, no markup of its own."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _yaml(data: Any) -> str:
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
