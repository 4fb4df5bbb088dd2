"""Keys: unknown, of a wrong type, missing. lm-eval's own keys as it states them, ours as their models do."""

from collections.abc import Iterator, Mapping
from typing import Any

from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.checks.types import type_problem
from fin_plugins.common.validation import MISSING, UNKNOWN, did_you_mean, validate
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.compat.lm_eval import schema
from fin_plugins.tasks.fields import Card, OwnRows, ShippedRows

OWN_ROWS = "fin_plugins.tasks.own.load"
SHIPPED_ROWS = "fin_plugins.tasks.rows.load"
_ROWS = {OWN_ROWS: OwnRows, SHIPPED_ROWS: ShippedRows}

# Values that break no rule, so that rules between keys can be looked at although one of the keys is wrong.
_RIGHT = {
    "labels": ["a"],
    "file": "a",
    "files": {"test": "a"},
    "hub": "a",
    "splits": {"test": 0.5},
    "split_column": "a",
    "rows": "a",
    "seen": True,
    "source": "a",
    "licence": "a",
}
_REQUIRED = ("labels", "seen", "source", "licence")
_CARD_CODES = {"seen": "C03", "source": "C02", "licence": "C01"}
_METRIC_KEYS = ("metric", "aggregation", "higher_is_better", "hf_evaluate")


def task_keys(file: TaskFile) -> Iterator[Finding]:
    """A task's keys; of a Python task nothing is known."""
    if "class" in file.data:
        return
    known = {**schema.task_types(), "task_list": Any}
    yield from _level(file, (), file.data, known)
    yield from _mapping(file, ("fewshot_config",), schema.fewshot_types())
    yield from _missing(file)
    yield from _metrics(file)
    yield from _filters(file)


def our_keys(file: TaskFile) -> Iterator[Finding]:
    """What stands under `dataset_kwargs` and `metadata.fin`, where these are ours."""
    model = _ROWS.get(str(file.data.get("custom_dataset")))
    settings = file.data.get("dataset_kwargs")
    if model and "dataset_kwargs" not in file.data:
        yield file.finding("K03", ("dataset_kwargs",), f"{MISSING}: at least `labels` has to stand there")
    elif model and isinstance(settings, dict):
        yield from _modelled(file, ("dataset_kwargs",), model, settings)
    metadata = file.data.get("metadata")
    if isinstance(metadata, dict) and "fin" in metadata:
        card = metadata["fin"]
        if isinstance(card, dict):
            yield from _modelled(file, ("metadata", "fin"), Card, card)
            if model is ShippedRows and "rows" not in card:
                yield file.finding("K03", ("metadata", "fin", "rows"), f"{MISSING}: the shipped data set to load")
        else:
            message = "should be a mapping of " + ", ".join(Card.model_fields)
            yield file.finding("K02", ("metadata", "fin"), message)


def group_keys(file: TaskFile) -> Iterator[Finding]:
    """A group's keys; those of a task are handed down to its members."""
    known = {**schema.task_types(), **schema.group_types(), "task_list": Any}
    yield from _level(file, (), file.data, known)
    if "task" not in file.data:
        yield file.finding("K03", ("task",), f"{MISSING}: the list of the group's members")
    members = file.data.get("task")
    for number, member in enumerate(members if isinstance(members, list) else []):
        if isinstance(member, dict):
            yield from _level(file, ("task", number), member, known)
            if not {"task", "group"} & set(member):
                yield file.finding("K03", ("task", number), "names neither a `task` nor a `group`")
        elif not isinstance(member, str):
            yield file.finding("K02", ("task", number), "should be a task's name, or a mapping with `task`")
    for key, entry in entries(file, "aggregate_metric_list"):
        if isinstance(entry, dict):
            yield from _level(file, key, entry, schema.aggregate_types())
            if "metric" not in entry:
                yield file.finding("K03", (*key, "metric"), MISSING)


def entries(file: TaskFile, name: str) -> Iterator[tuple[Key, Any]]:
    """The items of a list, each with its path; one mapping stands for a list of one."""
    value = file.data.get(name)
    if isinstance(value, dict):
        yield (name,), value
    for number, entry in enumerate(value if isinstance(value, list) else []):
        yield (name, number), entry


def _level(file: TaskFile, above: Key, data: dict[str, Any], known: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in data.items():
        key = (*above, name)
        if name not in known:
            yield file.finding("K01", key, f"{UNKNOWN}{did_you_mean(name, known)}")
        elif problem := type_problem(value, known[name]):
            yield file.finding("K02", key, problem)


def _mapping(file: TaskFile, key: Key, known: Mapping[str, Any]) -> Iterator[Finding]:
    value = file.data.get(str(key[0]))
    if isinstance(value, dict):
        yield from _level(file, key, value, known)


def _missing(file: TaskFile) -> Iterator[Finding]:
    data = file.data
    if not data.get("dataset_path") and not data.get("custom_dataset"):
        yield file.finding("K03", ("dataset_path",), f"{MISSING}, and custom_dataset too: where do the rows come from?")
    for name, why in _needed(data).items():
        if data.get(name) is None:
            yield file.finding("K03", (name,), f"{MISSING}: {why}")


def _needed(data: dict[str, Any]) -> dict[str, str]:
    if data.get("use_prompt"):
        return {}
    needed = {"doc_to_text": "the prompt's template"}
    if data.get("output_type") == "multiple_choice":
        needed |= {"doc_to_choice": "the labels to choose from", "doc_to_target": "which label is right"}
    return needed


def _metrics(file: TaskFile) -> Iterator[Finding]:
    """An entry may have any keys, which go to the metric's function; but a near miss is a slip."""
    for key, entry in entries(file, "metric_list"):
        if not isinstance(entry, dict):
            yield file.finding("K02", key, "should be a mapping, as in {metric: acc, aggregation: mean}")
            continue
        if "metric" not in entry:
            yield file.finding("K03", (*key, "metric"), MISSING)
        for name in set(entry) - set(_METRIC_KEYS):
            if near := did_you_mean(name, _METRIC_KEYS):
                yield file.finding("K01", (*key, name), f"{UNKNOWN}{near}")
        higher = entry.get("higher_is_better")
        if not isinstance(higher, bool | Function | None):
            yield file.finding("K02", (*key, "higher_is_better"), f"should be true or false, not {higher}")


def _filters(file: TaskFile) -> Iterator[Finding]:
    for key, entry in entries(file, "filter_list"):
        if not isinstance(entry, dict):
            yield file.finding("K02", key, "should be a mapping of name and filter")
            continue
        for name in ("name", "filter"):
            if name not in entry:
                yield file.finding("K03", (*key, name), MISSING)


def _modelled(file: TaskFile, above: Key, model: Any, data: dict[str, Any]) -> Iterator[Finding]:
    stands = {
        name: _RIGHT[name] for name in _RIGHT if name in model.model_fields and (name in _REQUIRED or name in data)
    }
    _, found = validate(model, data, stands)
    for below, message in found:
        yield file.finding(_code(model, below, message), (*above, *below), message)


def _code(model: Any, below: Key, message: str) -> str:
    if message.startswith(MISSING):
        return _CARD_CODES.get(str(below[-1]), "K03") if model is Card else "K03"
    return "K01" if message.startswith(UNKNOWN) else "K02"
