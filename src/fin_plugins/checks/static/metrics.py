"""Metrics: known, computed for this kind of task, and fit for its labels."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, TypeGuard

from fin_plugins.checks.functions import registered, resolved
from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.compat.lm_eval import schema

_CHOICE = "fin_plugins.tasks.results.score_choice"
_REPLY = "fin_plugins.tasks.results.score_reply"
_FITS = {_CHOICE: "multiple_choice", _REPLY: "generate_until"}
_BINARY = "f1"
_LIST: Key = ("metric_list",)


def metrics(file: TaskFile) -> list[tuple[Key, Mapping[str, Any]]]:
    """The entries of the metric list with their paths, also where a path of ours stands for the list."""
    given = resolved(file.data.get("metric_list"))
    listed = [given] if isinstance(given, dict) else given if isinstance(given, list) else []
    return [(_key(file, number), entry) for number, entry in enumerate(listed) if isinstance(entry, dict)]


def reported(file: TaskFile) -> set[str] | None:
    """Names of what a task reports; None where that cannot be said."""
    names = {entry.get("metric") for _, entry in metrics(file)}
    texts = {name for name in names if isinstance(name, str) and not isinstance(name, Function)}
    return texts if texts and len(texts) == len(names) and "class" not in file.data else None


def known(file: TaskFile) -> Iterator[Finding]:
    """lm-eval finds each metric and each aggregation by its name."""
    own = bool(file.data.get("process_results"))
    for key, entry in metrics(file):
        name, aggregation = entry.get("metric"), entry.get("aggregation")
        if _is_unknown(aggregation, schema.aggregations(), file):
            message = f"no aggregation of this name{did_you_mean(aggregation, schema.aggregations())}"
            yield file.finding("M02", (*key, "aggregation"), message)
        if entry.get("hf_evaluate") or (own and aggregation is not None):
            continue
        if _is_unknown(name, schema.metrics(), file):
            needs = "no metric of lm-eval's" if not own else "no metric of lm-eval's, so it needs an aggregation"
            yield file.finding("M01", (*key, "metric"), f"`{name}`: {needs}{did_you_mean(name, schema.metrics())}")


def once(file: TaskFile) -> Iterator[Finding]:
    """No metric stands in the list twice."""
    seen: set[Any] = set()
    for key, entry in metrics(file):
        name = entry.get("metric")
        if isinstance(name, str):
            if name in seen:
                yield file.finding("M05", (*key, "metric"), f"`{name}` stands here twice: the second one counts")
            seen.add(name)


def computed(file: TaskFile) -> Iterator[Finding]:
    """For labels, lm-eval computes certain metrics only, and its F1 is for two of them."""
    if file.data.get("output_type") != "multiple_choice" or file.data.get("process_results"):
        return
    for key, entry in metrics(file):
        name = entry.get("metric")
        if name in schema.metrics() - schema.choice_metrics() and schema.choice_metrics():
            message = f"`{name}` is not computed for output_type multiple_choice, and would be missing in the results"
            yield file.finding("M04", (*key, "metric"), message)
        labels = _number_of_labels(file)
        if name == _BINARY and entry.get("aggregation", _BINARY) == _BINARY and labels is not None and labels > 2:
            message = f"lm-eval's f1 is for two labels, and there are {labels}: it stops after all rows were answered"
            yield file.finding("M03", (*key, "metric"), f"{message}; use an aggregation of your own, or acc and mcc")


def processed(file: TaskFile) -> Iterator[Finding]:
    """Our functions fit the kind of task, and return what the list names."""
    function = file.data.get("process_results")
    if not isinstance(function, Function) or function not in _FITS:
        return
    output = file.data.get("output_type", "generate_until")
    if output not in _FITS.values():
        return  # the rules about keys, or lm-eval's other kinds of task
    if output != _FITS[function]:
        other = next(path for path, fits in _FITS.items() if path != function)
        message = f"is for output_type {_FITS[function]}, and this task's is {output}: {other} may be meant"
        yield file.finding("M06", ("process_results",), message)
        return
    returned = _returned(function)
    listed = {entry["metric"]: key for key, entry in metrics(file) if isinstance(entry.get("metric"), str)}
    for name, key in listed.items():
        if name not in returned:
            at = key if key == _LIST else (*key, "metric")
            message = f"`{name}` is nothing that {function} returns{did_you_mean(name, returned)}"
            yield file.finding("M07", at, message)
    lacking = [name for name, value in returned.items() if isinstance(value, tuple) and name not in listed]
    if lacking and not isinstance(file.data.get("metric_list"), Function):
        list_of = "CHOICE" if function == _CHOICE else "REPLY"
        message = f"lacks {', '.join(lacking)}: write `metric_list: !function fin_plugins.tasks.metrics.{list_of}`"
        yield file.finding("M08", _LIST, message)


def filters(file: TaskFile) -> Iterator[Finding]:
    """Filters are called by names that lm-eval knows."""
    listed = file.data.get("filter_list")
    for number, entry in enumerate(listed if isinstance(listed, list) else []):
        steps = entry.get("filter") if isinstance(entry, dict) else None
        for step, stated in enumerate(steps if isinstance(steps, list) else []):
            name = stated.get("function") if isinstance(stated, dict) else None
            if _is_unknown(name, schema.filters(), file):
                key = ("filter_list", number, "filter", step, "function")
                yield file.finding("M09", key, f"no filter of this name{did_you_mean(name, schema.filters())}")


@cache
def _returned(function: str) -> dict[str, Any]:
    """What one of our functions returns for a row: asked of it, so that there is no second list."""
    row = {"gold": 0, "choices": ["a", "b"], "data": "sample"}
    answer = [(0.0, True), (-1.0, False)] if function == _CHOICE else ["a"]
    returned: dict[str, Any] = resolved(Function(function))(row, answer)
    return returned


def _is_unknown(name: Any, known: Collection[str], file: TaskFile) -> TypeGuard[str]:
    """Whether it is a name that neither lm-eval registers nor the modules that the task calls."""
    return _is_name(name) and name not in known and name not in registered(file)


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, Function)


def _number_of_labels(file: TaskFile) -> int | None:
    settings = file.data.get("dataset_kwargs")
    labels = settings.get("labels") if file.ours and isinstance(settings, dict) else file.data.get("doc_to_choice")
    return len(labels) if isinstance(labels, list | dict) else None


def _key(file: TaskFile, number: int) -> Key:
    return (*_LIST, number) if isinstance(file.data.get("metric_list"), list) else _LIST
