"""Rules on metrics, of tasks and of the groups that average them, and on the members of groups."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, TypeGuard

from fin_plugins.checks.findings import Finding
from fin_plugins.checks.key_rules import list_entries
from fin_plugins.checks.references import registered_names, resolve_function
from fin_plugins.checks.task_file import TaskFile
from fin_plugins.checks.task_names import TaskRegistry
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.compat.lm_eval import schema

_CHOICE = "fin_plugins.tasks.results.score_choice"
_REPLY = "fin_plugins.tasks.results.score_reply"
_OUTPUT_TYPES = {_CHOICE: "multiple_choice", _REPLY: "generate_until"}
_METRIC_LIST: Key = ("metric_list",)


def check_metrics(file: TaskFile) -> Iterator[Finding]:
    """Rules M01 to M09 for a task."""
    yield from _check_known(file)
    yield from _check_duplicates(file)
    yield from _check_computed(file)
    yield from _check_processed(file)
    yield from _check_filters(file)


def check_group(file: TaskFile, registry: TaskRegistry) -> Iterator[Finding]:
    """Rules G01 to G07 for a group."""
    yield from _check_members(file, registry)
    yield from _check_aggregation(file)
    members = [None if inline else registry.get(name) for _, name, inline in _members(file)]
    yield from _check_weights(file, members)
    yield from _check_group_metrics(file, [member for member in members if member and member.kind == "task"])


def _metrics(file: TaskFile) -> list[tuple[Key, Mapping[str, Any]]]:
    """The entries of the metric list with their keys, also if the list is a `!function` into this package."""
    value = file.data.get("metric_list")
    metrics = resolve_function(value)
    entries = [metrics] if isinstance(metrics, dict) else metrics if isinstance(metrics, list) else []
    keys = [(*_METRIC_LIST, number) if isinstance(value, list) else _METRIC_LIST for number in range(len(entries))]
    return [(key, entry) for key, entry in zip(keys, entries, strict=True) if isinstance(entry, dict)]


def _reported_metrics(file: TaskFile) -> set[str] | None:
    """Names of the metrics that a task reports; None if that is unknown."""
    names = {entry.get("metric") for _, entry in _metrics(file)}
    plain = set(filter(_is_name, names))
    return plain if plain and len(plain) == len(names) and "class" not in file.data else None


def _check_known(file: TaskFile) -> Iterator[Finding]:
    """lm-eval knows each metric and each aggregation."""
    is_custom = bool(file.data.get("process_results"))
    for key, entry in _metrics(file):
        name, aggregation = entry.get("metric"), entry.get("aggregation")
        if _is_unknown(aggregation, schema.aggregations(), file):
            message = f"no such aggregation{did_you_mean(aggregation, schema.aggregations())}"
            yield file.finding("M02", (*key, "aggregation"), message)
        if entry.get("hf_evaluate") or (is_custom and aggregation is not None):
            continue
        if _is_unknown(name, schema.metrics(), file):
            problem = "not a metric of lm-eval" + (", so it needs an aggregation" if is_custom else "")
            yield file.finding("M01", (*key, "metric"), f"`{name}`: {problem}{did_you_mean(name, schema.metrics())}")


def _check_duplicates(file: TaskFile) -> Iterator[Finding]:
    seen: set[Any] = set()
    for key, entry in _metrics(file):
        name = entry.get("metric")
        if isinstance(name, str):
            if name in seen:
                yield file.finding("M05", (*key, "metric"), f"`{name}` is listed twice: the second entry counts")
            seen.add(name)


def _check_computed(file: TaskFile) -> Iterator[Finding]:
    """For `multiple_choice` lm-eval computes only some metrics, and its F1 is binary."""
    if file.data.get("output_type") != "multiple_choice" or file.data.get("process_results"):
        return
    labels = file.dataset_kwargs.get("labels") if file.is_fin_task else file.data.get("doc_to_choice")
    count = len(labels) if isinstance(labels, list | dict) else 0
    for key, entry in _metrics(file):
        name = entry.get("metric")
        if name in schema.metrics() - schema.choice_metrics() and schema.choice_metrics():
            message = f"`{name}` is not computed for output_type multiple_choice and would be missing from the results"
            yield file.finding("M04", (*key, "metric"), message)
        if name == "f1" and entry.get("aggregation", "f1") == "f1" and count > 2:
            message = f"lm-eval's f1 is for two labels, not {count}: lm-eval stops after all rows were answered"
            yield file.finding("M03", (*key, "metric"), f"{message}; use an aggregation of your own, or acc and mcc")


def _check_processed(file: TaskFile) -> Iterator[Finding]:
    """Our functions for `process_results` suit the output type and return the listed metrics."""
    function = file.data.get("process_results")
    if not isinstance(function, Function) or function not in _OUTPUT_TYPES:
        return
    output_type = file.data.get("output_type", "generate_until")
    if output_type not in _OUTPUT_TYPES.values():
        return  # reported by the rules on keys, or another of lm-eval's output types
    if output_type != _OUTPUT_TYPES[function]:
        other = next(path for path in _OUTPUT_TYPES if path != function)
        message = f"is for output_type {_OUTPUT_TYPES[function]}, but this task has {output_type}: use {other}?"
        yield file.finding("M06", ("process_results",), message)
        return
    returned = _returned_metrics(function)
    listed = {entry["metric"]: key for key, entry in _metrics(file) if isinstance(entry.get("metric"), str)}
    for name, key in listed.items():
        if name not in returned:
            message = f"`{name}` is not returned by {function}{did_you_mean(name, returned)}"
            yield file.finding("M07", key if key == _METRIC_LIST else (*key, "metric"), message)
    missing = [name for name, value in returned.items() if isinstance(value, tuple) and name not in listed]
    if missing and not isinstance(file.data.get("metric_list"), Function):
        metrics = "CHOICE" if function == _CHOICE else "REPLY"
        message = f"lacks {', '.join(missing)}: write `metric_list: !function fin_plugins.tasks.metrics.{metrics}`"
        yield file.finding("M08", _METRIC_LIST, message)


def _check_filters(file: TaskFile) -> Iterator[Finding]:
    filter_list = file.data.get("filter_list")
    for number, entry in enumerate(filter_list if isinstance(filter_list, list) else []):
        steps = entry.get("filter") if isinstance(entry, dict) else None
        for position, step in enumerate(steps if isinstance(steps, list) else []):
            name = step.get("function") if isinstance(step, dict) else None
            if _is_unknown(name, schema.filters(), file):
                key = ("filter_list", number, "filter", position, "function")
                yield file.finding("M09", key, f"no such filter{did_you_mean(name, schema.filters())}")


@cache
def _returned_metrics(function: str) -> dict[str, Any]:
    """What one of our functions returns for a row: called once, so that no second list has to be kept."""
    row = {"gold": 0, "choices": ["a", "b"], "data": "sample"}
    answer = [(0.0, True), (-1.0, False)] if function == _CHOICE else ["a"]
    returned: dict[str, Any] = resolve_function(Function(function))(row, answer)
    return returned


def _is_unknown(name: Any, known: Collection[str], file: TaskFile) -> TypeGuard[str]:
    """Whether a value is a name that neither lm-eval nor a module of the task registers."""
    return _is_name(name) and name not in known and name not in registered_names(file)


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, Function)


def _check_members(file: TaskFile, registry: TaskRegistry) -> Iterator[Finding]:
    members = file.data.get("task")
    if isinstance(members, str):
        message = f"should be a list, such as `task: [{members}]`: lm-eval finds no member in a bare name"
        yield file.finding("G04", ("task",), message)
    if members == []:
        yield file.finding("G04", ("task",), "no members: the group has nothing to evaluate")
    seen: set[str] = set()
    for key, name, inline in _members(file):
        if name in seen:
            message = f"`{name}` is listed twice: lm-eval loads it twice and counts it once"
            yield file.finding("G02", key, message)
        elif name == file.task_name:
            yield file.finding("G02", key, f"`{name}` is this group itself: lm-eval would never finish loading it")
        elif not inline and not registry.is_known(name):
            suggestion = did_you_mean(name, registry.names()) or "; `fin eval ls tasks` lists all names"
            yield file.finding("G01", key, f"`{name}`: no such task, group or tag{suggestion}")
        seen.add(name)


def _check_aggregation(file: TaskFile) -> Iterator[Finding]:
    """lm-eval always takes the mean."""
    for key, entry in list_entries(file, "aggregate_metric_list"):
        aggregation = entry.get("aggregation", "mean") if isinstance(entry, dict) else "mean"
        if isinstance(aggregation, Function):
            message = f"lm-eval never calls {aggregation} but takes the mean: remove this line"
            yield file.finding("G03", (*key, "aggregation"), message)
        elif isinstance(aggregation, str) and aggregation != "mean":
            message = f"`{aggregation}`: lm-eval stops here, because it knows only the mean"
            yield file.finding("G03", (*key, "aggregation"), message)


def _check_weights(file: TaskFile, members: Collection[TaskFile | None]) -> Iterator[Finding]:
    """A group of fin tasks states whether large tasks weigh more."""
    if not members or not all(member and member.is_fin_task for member in members):
        return
    for key, entry in list_entries(file, "aggregate_metric_list"):
        if isinstance(entry, dict) and "metric" in entry and "weight_by_size" not in entry:
            message = "is missing, so lm-eval weights tasks by their rows: write false for a plain mean over tasks"
            yield file.finding("G06", (*key, "weight_by_size"), message)


def _check_group_metrics(file: TaskFile, members: Collection[TaskFile]) -> Iterator[Finding]:
    """A group's metric is listed once, and every member of known metrics reports it."""
    reported = {str(task.task_name): names for task in members if (names := _reported_metrics(task)) is not None}
    seen: set[str] = set()
    for key, entry in list_entries(file, "aggregate_metric_list"):
        metric = entry.get("metric") if isinstance(entry, dict) else None
        if isinstance(metric, str):
            if message := _not_reported(metric, reported):
                yield file.finding("G05", (*key, "metric"), message)
            if metric in seen and "filter_list" not in entry:
                yield file.finding("G07", (*key, "metric"), f"`{metric}` is listed twice: the second entry counts")
            seen.add(metric)


def _not_reported(metric: str, reported: Mapping[str, Collection[str]]) -> str | None:
    lacking = [name for name, names in reported.items() if metric not in names]
    if not lacking:
        return None
    if len(lacking) == len(reported):
        return f"`{metric}` is reported by no member{did_you_mean(metric, set().union(*reported.values()))}"
    more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    return f"`{metric}` is not reported by {', '.join(lacking[:3])}{more}"


def _members(file: TaskFile) -> Iterator[tuple[Key, str, bool]]:
    """The key and name of each member, and whether the group defines it inline."""
    members = file.data.get("task")
    for number, member in enumerate(members if isinstance(members, list) else []):
        if isinstance(member, str):
            yield ("task", number), member, False
        elif isinstance(member, dict):
            kind = "group" if "group" in member else "task"
            name = member.get(kind)
            inline = kind == "group" or bool({"dataset_path", "custom_dataset", "include"} & set(member))
            if isinstance(name, str):
                yield ("task", number, kind), name, inline
