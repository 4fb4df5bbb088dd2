"""Rules on keys: unknown, of a wrong type, missing, or filled with a placeholder.

lm-eval's keys come from its own dataclasses, ours from the models that the loaders read.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from fin_plugins.checks.findings import Finding
from fin_plugins.checks.task_file import BUNDLED_ROWS_LOADER, CUSTOM_ROWS_LOADER, TaskFile
from fin_plugins.common.validation import MISSING, UNKNOWN, did_you_mean, validate
from fin_plugins.common.yaml_file import Problem, Problems
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.compat.lm_eval import schema
from fin_plugins.tasks.task_config import BundledDatasetConfig, CustomDatasetConfig, FinMetadata

_DATASET_MODELS: dict[str, type[BaseModel]] = {
    CUSTOM_ROWS_LOADER: CustomDatasetConfig,
    BUNDLED_ROWS_LOADER: BundledDatasetConfig,
}
_VALID_VALUES: dict[str, Any] = {
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
"""Stand in for wrong values, so that rules between keys are checked even if one of the keys is wrong."""
_REQUIRED = ("labels", "seen", "source", "licence")
_CARD_CODES = {"seen": "C03", "source": "C02", "licence": "C01"}
_METRIC_KEYS = ("metric", "aggregation", "higher_is_better", "hf_evaluate")
_PLACEHOLDER_TEXT = re.compile(
    r"\W*(?:|to ?do|tbd|tba|fix ?me|xxx|n/?a|none|null|unknown|unclear|unspecified|not (?:stated|known|given)|\?+"
    r"|(?:your |the |some )?(?:licen[cs]e|source)(?: here| goes here)?|<.*>|\.\.\.|…)\W*",
    re.IGNORECASE,
)
_TYPE_NAMES: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    Callable: "a !function",
    NoneType: "",
}


def check_task_keys(file: TaskFile) -> Iterator[Finding]:
    """Rules K01 to K03 for lm-eval's keys; a Python task may have any keys."""
    if "class" in file.data:
        return
    yield from _check_mapping(file, (), file.data, {**schema.task_types(), "task_list": Any})
    fewshot = file.data.get("fewshot_config")
    if isinstance(fewshot, dict):
        yield from _check_mapping(file, ("fewshot_config",), fewshot, schema.fewshot_types())
    yield from _check_required(file)
    yield from _check_metric_entries(file)
    yield from _check_filter_entries(file)


def check_fin_keys(file: TaskFile) -> Iterator[Finding]:
    """Rules K01 to K03 and C01 to C03 for our keys under `dataset_kwargs` and `metadata.fin`."""
    model = _DATASET_MODELS.get(str(file.data.get("custom_dataset")))
    if model and "dataset_kwargs" not in file.data:
        yield file.finding("K03", ("dataset_kwargs",), f"{MISSING}: it must hold at least `labels`")
    elif model and isinstance(file.data["dataset_kwargs"], dict):
        yield from _check_model(file, ("dataset_kwargs",), model, file.dataset_kwargs)
    metadata = file.data.get("metadata")
    if not isinstance(metadata, dict) or "fin" not in metadata:
        return
    if not isinstance(metadata["fin"], dict):
        yield file.finding("K02", ("metadata", "fin"), "should be a mapping of " + ", ".join(FinMetadata.model_fields))
        return
    yield from _check_model(file, ("metadata", "fin"), FinMetadata, file.card)
    if model is BundledDatasetConfig and "rows" not in file.card:
        yield file.finding("K03", ("metadata", "fin", "rows"), f"{MISSING}: the name of the bundled data set")


def check_card(file: TaskFile) -> Iterator[Finding]:
    """Rules C01, C02, C04 and C05: a fin task has a card with a version and without placeholders."""
    if not file.is_fin_task:
        return
    metadata = file.data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("version") is None:
        message = f"{MISSING}: start with 1.0 and raise it with every change"
        yield file.finding("C04", ("metadata", "version"), message)
    if "fin" not in metadata:
        message = f"{MISSING}: state whether models are trained on the task (seen), its source and its licence"
        yield file.finding("C05", ("metadata", "fin"), message)
    for name in ("licence", "source"):
        value = file.card.get(name)
        if isinstance(value, str) and value and _PLACEHOLDER_TEXT.fullmatch(value):
            message = f"`{value}` says nothing: state it as the publisher does"
            yield file.finding(_CARD_CODES[name], ("metadata", "fin", name), message)


def check_group_keys(file: TaskFile) -> Iterator[Finding]:
    """Rules K01 to K03 for a group; it may have a task's keys, which lm-eval hands down to the members."""
    known = {**schema.task_types(), **schema.group_types(), "task_list": Any}
    yield from _check_mapping(file, (), file.data, known)
    if "task" not in file.data:
        yield file.finding("K03", ("task",), f"{MISSING}: the list of the group's members")
    members = file.data.get("task")
    for number, member in enumerate(members if isinstance(members, list) else []):
        if isinstance(member, dict):
            yield from _check_mapping(file, ("task", number), member, known)
            if not {"task", "group"} & set(member):
                yield file.finding("K03", ("task", number), "names neither a `task` nor a `group`")
        elif not isinstance(member, str):
            yield file.finding("K02", ("task", number), "should be a task name, or a mapping with `task`")
    for key, entry in list_entries(file, "aggregate_metric_list"):
        if isinstance(entry, dict):
            yield from _check_mapping(file, key, entry, schema.aggregate_types())
            if "metric" not in entry:
                yield file.finding("K03", (*key, "metric"), MISSING)


def check_training_file(file: TaskFile, *, rows: bool = False) -> Iterator[Finding]:
    """Rules R01 to R03: everything that `fin train` refuses before it loads a model.

    Args:
        file: a training file.
        rows: whether to read the rows of its tasks, too.
    """
    from fin_plugins.training.config_loading import read_config

    try:
        read_config(str(file.path), depth="rows" if rows else "tasks")
    except Problems as error:
        for problem in error.problems:
            if problem.what is None:  # problems with the YAML itself are reported already
                place = (file.name, problem.line, problem.column, problem.key)
                yield Finding(*place, _training_code(problem), problem.message)


def list_entries(file: TaskFile, name: str) -> Iterator[tuple[Key, Any]]:
    """The items of a list with their keys; a single mapping counts as a list of one."""
    value = file.data.get(name)
    if isinstance(value, dict):
        yield (name,), value
    for number, entry in enumerate(value if isinstance(value, list) else []):
        yield (name, number), entry


def _training_code(problem: Problem) -> str:
    if problem.message.startswith(UNKNOWN):
        return "R01"
    return "R02" if problem.message.startswith(MISSING) else "R03"


def _check_mapping(file: TaskFile, parent: Key, data: dict[str, Any], known: Mapping[str, Any]) -> Iterator[Finding]:
    """Unknown keys and wrong types.

    Args:
        file: the file.
        parent: key of the mapping.
        data: the mapping.
        known: the type of each known key.
    """
    for name, value in data.items():
        if name not in known:
            yield file.finding("K01", (*parent, name), f"{UNKNOWN}{did_you_mean(name, known)}")
        elif problem := _type_problem(value, known[name]):
            yield file.finding("K02", (*parent, name), problem)


def _check_required(file: TaskFile) -> Iterator[Finding]:
    data = file.data
    if not data.get("dataset_path") and not data.get("custom_dataset"):
        yield file.finding("K03", ("dataset_path",), f"{MISSING}, and so is custom_dataset: the task has no rows")
    required: dict[str, str] = {}
    if not data.get("use_prompt"):
        required = {"doc_to_text": "the template of the prompt"}
        if data.get("output_type") == "multiple_choice":
            required |= {"doc_to_choice": "the labels to choose from", "doc_to_target": "the right label"}
    for name, content in required.items():
        if data.get(name) is None:
            yield file.finding("K03", (name,), f"{MISSING}: {content}")


def _check_metric_entries(file: TaskFile) -> Iterator[Finding]:
    """An entry may have any keys, which go to the metric's function; but a near miss is a typo."""
    for key, entry in list_entries(file, "metric_list"):
        if not isinstance(entry, dict):
            yield file.finding("K02", key, "should be a mapping, such as {metric: acc, aggregation: mean}")
            continue
        if "metric" not in entry:
            yield file.finding("K03", (*key, "metric"), MISSING)
        for name in set(entry) - set(_METRIC_KEYS):
            if suggestion := did_you_mean(name, _METRIC_KEYS):
                yield file.finding("K01", (*key, name), f"{UNKNOWN}{suggestion}")
        higher = entry.get("higher_is_better")
        if not isinstance(higher, bool | Function | None):
            yield file.finding("K02", (*key, "higher_is_better"), f"should be true or false, not {higher}")


def _check_filter_entries(file: TaskFile) -> Iterator[Finding]:
    for key, entry in list_entries(file, "filter_list"):
        if not isinstance(entry, dict):
            yield file.finding("K02", key, "should be a mapping of name and filter")
            continue
        for name in ("name", "filter"):
            if name not in entry:
                yield file.finding("K03", (*key, name), MISSING)


def _check_model(file: TaskFile, parent: Key, model: type[BaseModel], data: dict[str, Any]) -> Iterator[Finding]:
    fields = {name for name in model.model_fields if name in _REQUIRED or name in data}
    placeholders = {name: value for name, value in _VALID_VALUES.items() if name in fields}
    for key, message in validate(model, data, placeholders)[1]:
        code = "K01" if message.startswith(UNKNOWN) else "K02"
        if message.startswith(MISSING):
            code = _CARD_CODES.get(str(key[-1]), "K03") if model is FinMetadata else "K03"
        yield file.finding(code, (*parent, *key), message)


def _type_problem(value: Any, expected: Any) -> str | None:
    """What a value should be instead; None if its type is right or only known when the task runs."""
    if _has_type(value, expected):
        return None
    suggestion = did_you_mean(value, _literals(expected)) if isinstance(value, str) else ""
    names = [name for name in dict.fromkeys(_type_names(expected)) if name]
    described = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"should be {described}{suggestion}, not {_describe(value)}"


def _has_type(value: Any, expected: Any) -> bool:
    kind = get_origin(expected) or expected
    if kind in (Union, UnionType):
        return any(_has_type(value, branch) for branch in get_args(expected))
    if kind is Literal:
        return value in get_args(expected)
    if expected is Any or isinstance(value, Function):  # what a function returns is known when it is called
        return True
    if is_dataclass(kind):
        return isinstance(value, dict)
    if kind is Callable:
        return False
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _type_names(expected: Any) -> Iterator[str]:
    kind = get_origin(expected) or expected
    if kind in (Union, UnionType):
        for branch in get_args(expected):
            yield from _type_names(branch)
    elif kind is Literal:
        yield from map(str, get_args(expected))
    else:
        yield _TYPE_NAMES.get(kind, _TYPE_NAMES[dict])


def _literals(expected: Any) -> list[str]:
    if get_origin(expected) is Literal:
        return list(map(str, get_args(expected)))
    return [name for branch in get_args(expected) for name in _literals(branch)]


def _describe(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return _TYPE_NAMES[type(value)]
    return f"`{value}`" if isinstance(value, str) else str(value).lower()
