"""The evaluation section of a model card for the Hugging Face hub.

The hub reads two forms of metadata, so both are there: `model-index` in the card's front matter
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md?plain=1) and the newer files `.eval_results/*.yaml` of a
model repository (https://huggingface.co/docs/hub/eval-results), which hold one value per task and only show data sets
registered as benchmarks. Neither has room for intervals, floors and rates: a table between the two shows them.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from fin_plugins.board.board_data import MAIN_METRIC, METRICS, Board, Cell, Column, Estimate
from fin_plugins.common.errors import FinError
from fin_plugins.common.markdown import escape, single_line, table
from fin_plugins.common.markdown import table_cell as code_cell
from fin_plugins.common.model_card import front_matter

_Result = tuple[Column, Cell]

_METRIC_NAMES = {"acc": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1", "mcc": "MCC"}
_PROTOCOL_NAMES = {"choice": "label likelihood", "gen": "generation"}
_BENCHMARK_PLACEHOLDER = "OWNER/BENCHMARK"


def format_card_section(board: Board, model: str, *, benchmark: str | None = None) -> str:
    """The section, ready to be pasted: front matter, a Markdown table, and the eval-results file as a code block.

    It only has complete runs on real data, because the hub shows a number without its conditions.

    Args:
        board: the board.
        model: display name on the board.
        benchmark: data set on the hub for the eval-results entries; None for a placeholder.

    Raises:
        FinError: the model has no complete run on real data.
    """
    results = [
        (column, board.cells[column.key, model])
        for column in board.columns
        if (column.key, model) in board.cells and column.conditions.data == "real" and column.conditions.limit is None
    ]
    if not results:
        raise FinError(f"{model}: no complete run on real data; a card shows no embedded, unknown or limited rows")
    index = {"name": single_line(model), "results": [_index_result(column, cell) for column, cell in results]}
    # The eval-results form knows no conditions, so a task with several columns is represented by the first.
    first_by_task = {_lm_eval_task(column): (column, cell) for column, cell in reversed(results)}
    eval_results = [
        _eval_result(column, cell, benchmark or _BENCHMARK_PLACEHOLDER)
        for column, cell in reversed(first_by_task.values())
    ]
    placeholder_hint = f"<!-- {_BENCHMARK_PLACEHOLDER}: a data set registered as a benchmark on the hub -->"
    return "\n".join(
        [
            f"---\n{front_matter({'model-index': [index]})}\n---\n",
            "## Evaluation\n",
            _results_table(results),
            *_explanations(board, results),
            "<!-- A separate file in the model's repository: .eval_results/fin_plugins.yaml -->",
            *([] if benchmark else [placeholder_hint]),
            f"```yaml\n{yaml.safe_dump(eval_results, sort_keys=False, allow_unicode=True, width=10_000)}```\n",
        ]
    )


def _index_result(column: Column, cell: Cell) -> dict[str, Any]:
    """An entry of `model-index`. Its `config` distinguishes columns of the same task."""
    conditions = column.conditions
    return {
        "task": {"type": "text-classification", "name": _PROTOCOL_NAMES[column.protocol]},
        "dataset": {
            "type": _lm_eval_task(column),
            "name": column.title,
            "config": column.key,
            "split": "test",
            "args": {
                "num_few_shot": conditions.shots,
                "chat_template": conditions.chat,
                "task_version": conditions.version,
            },
        },
        "metrics": [
            {**_hub_metric(metric), "value": _percent(cell.figures[metric].value)}
            for metric in METRICS
            if metric in cell.figures
        ],
    }


def _hub_metric(metric: str) -> dict[str, Any]:
    """The hub's description of a metric."""
    descriptions: dict[str, dict[str, Any]] = {
        "acc": {"type": "accuracy", "name": "Accuracy (%)"},
        "weighted_f1": {"type": "f1", "name": "Weighted F1 (%)", "args": {"average": "weighted"}},
        "macro_f1": {"type": "f1", "name": "Macro F1 (%)", "args": {"average": "macro"}},
        "mcc": {"type": "matthews_correlation", "name": "MCC (%)"},
    }
    return descriptions[metric]


def _eval_result(column: Column, cell: Cell, benchmark: str) -> dict[str, Any]:
    figure = cell.figures[MAIN_METRIC]
    interval = _interval(figure, ", 95 % interval {}")
    return {
        "dataset": {"id": benchmark, "task_id": _lm_eval_task(column)},
        "value": _percent(figure.value),
        "date": datetime.fromtimestamp(cell.entry.source.date, UTC).date().isoformat(),
        "notes": f"{_METRIC_NAMES[MAIN_METRIC]} in %{interval}; {_method(column)}",
    }


def _results_table(results: Sequence[_Result]) -> str:
    has_rates = any(column.protocol == "gen" for column, _ in results)
    names = (*METRICS, "missing") if has_rates else METRICS
    header = ["task", "method", "rows", *_METRIC_NAMES.values(), *(["no label named"] if has_rates else []), "floor"]
    rows = [
        [
            code_cell(column.key),
            _method(column),
            f"{cell.entry.n:,}",
            *(_figure(cell, name) for name in names),
            f"{100 * cell.floors[MAIN_METRIC]:.1f}" if MAIN_METRIC in cell.floors else "",
        ]
        for column, cell in results
    ]
    return table(header, rows, align="ll" + "r" * (len(header) - 2))


def _explanations(board: Board, results: Sequence[_Result]) -> Iterator[str]:
    yield "In percent, with 95 % bootstrap intervals over documents for results with samples. The floor is the"
    yield "weighted F1 of a constant answer, the most frequent label; * marks figures whose interval does not lie"
    yield "above the floor of that metric.\n"
    explanations = [f"{column.key}: {column.explanation}" for column, _ in results if column.explanation]
    notes = [note for _, cell in results for note in cell.entry.notes]
    yield from (f"- {escape(text)}" for text in dict.fromkeys([*explanations, *notes]))
    versions = ", ".join(f"{name} {value}" for name, value in board.made_with.items())
    yield f"Made by `fin board card` of fin-plugins ({escape(versions)}).\n"


def _figure(cell: Cell, name: str) -> str:
    if name not in cell.figures:
        return ""
    figure = cell.figures[name]
    return f"{100 * figure.value:.1f}{_interval(figure, ' ({})')}{' *' if name in cell.floor_sides else ''}"


def _interval(figure: Estimate, template: str) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return template.format(f"{100 * figure.low:.1f} to {100 * figure.high:.1f}")


def _method(column: Column) -> str:
    chat = ", chat template" if column.conditions.chat else ""
    return f"{_PROTOCOL_NAMES[column.protocol]}, {column.conditions.shots}-shot{chat}"


def _lm_eval_task(column: Column) -> str:
    return column.task + ("_gen" if column.protocol == "gen" else "")


def _percent(value: float) -> float:
    return round(100 * value, 2)
