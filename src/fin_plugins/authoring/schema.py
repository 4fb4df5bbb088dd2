"""JSON Schemas for editors, made from the models that the loaders and the checker read, and from lm-eval's own."""

import dataclasses
import json
from collections.abc import Callable
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from fin_plugins.common.atomic import write_file
from fin_plugins.common.validation import StrictModel
from fin_plugins.compat.lm_eval.schema import config_classes
from fin_plugins.tasks.fields import Card, OwnRows, ShippedRows
from fin_plugins.tasks.schema_address import ADDRESS

Schema = dict[str, Any]

_DIALECT = GenerateJsonSchema.schema_dialect
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


class _Metadata(BaseModel):
    """What results carry along; `fin` is ours, and any other key is left alone."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    version: float | str | None = None
    """Raise it whenever scores change their meaning."""
    fin: Card = None  # type: ignore[assignment]  # no `| None`: editors then name the very key that is wrong
    """What a reader of the results has to know about the data."""


class _Metric(BaseModel):
    """One entry of `metric_list`; further keys are handed to the metric."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    metric: str
    """A metric of lm-eval's, or what `process_results` returns under this name."""
    aggregation: str | None = None
    """A name that lm-eval knows, or `!function package.module.name`."""
    higher_is_better: bool | None = None
    hf_evaluate: bool = False
    """Take the metric from Hugging Face's `evaluate`."""


class _Structure(StrictModel):
    """Keys that lm-eval reads before there is a task."""

    include: str | list[str] | None = None
    """Files whose keys stand here too, unless this file says otherwise; relative to this file."""
    task_list: list[Any] | None = None
    """Further tasks that differ in single keys."""


def schemas() -> dict[str, Schema]:
    """The schemas by the name of their file."""
    from fin_plugins.experiments.config import Experiment
    from fin_plugins.training.config import TrainConfig

    return {
        "task.schema.json": _headed(ADDRESS, "A task or a group of tasks", _task_or_group()),
        "training.schema.json": _of(TrainConfig, "training.schema.json", "A training file"),
        "experiment.schema.json": _of(Experiment, "experiment.schema.json", "An experiment file"),
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas into a folder and return their paths."""
    written = []
    for name, schema in schemas().items():
        write_file(folder / name, json.dumps(schema, indent=1, ensure_ascii=False) + "\n")
        written.append(folder / name)
    return written


class _Generator(GenerateJsonSchema):
    """pydantic's, without a title for each key that only says the key again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _task_or_group() -> Schema:
    task, group = _models()
    wanted: list[tuple[type[BaseModel], Literal["validation"]]] = [
        (model, "validation") for model in (task, group, OwnRows, ShippedRows)
    ]
    _, schema = models_json_schema(wanted, schema_generator=_Generator)
    schema["$defs"]["Task"]["allOf"] = _rows_by_loader()
    group_or_task = {"if": {"required": ["group"]}, "then": _ref("Group"), "else": _ref("Task")}
    # A Python class reads what keys it likes.
    return {"if": {"required": ["class"]}, "then": {}, "else": group_or_task, **_bounded(schema)}


def _models() -> tuple[type[BaseModel], type[BaseModel]]:
    """What lm-eval takes in a task file and in a group file, as models that know no other key.

    Where lm-eval takes more than its annotations say, its code was asked.
    """
    classes = config_classes()
    fewshot = create_model("Fewshot", __base__=StrictModel, **_fields(classes.fewshot))
    filters: dict[str, Any] = {"filter_list": (list[str] | str | None, None)}
    aggregate = create_model("AggregateMetric", __base__=StrictModel, **{**_fields(classes.aggregate), **filters})
    ours: dict[str, Any] = {
        "doc_to_target": (str | int | None, None),
        "fewshot_config": (fewshot, None),
        "metric_list": (list[_Metric] | str | None, None),
        "metadata": (_Metadata, None),
    }
    of_task: dict[str, Any] = {**_fields(classes.task), **ours}
    task = create_model("Task", __base__=_Structure, __doc__="A task.", **of_task)
    aggregates = (list[aggregate] | aggregate | None, None)  # type: ignore[valid-type]
    # What else a group says is handed down to its tasks.
    members = (str | list[str | dict[str, Any]] | None, None)
    group_only: dict[str, Any] = {"task": members, "aggregate_metric_list": aggregates, "metadata": ours["metadata"]}
    of_group = {**of_task, **_fields(classes.group), **group_only}
    return task, create_model("Group", __base__=_Structure, __doc__="A group of tasks.", **of_group)


def _fields(described: type) -> dict[str, Any]:
    """A dataclass of lm-eval's as fields of a model, each with its type as a file can write it and its default."""
    from lm_eval.api.instance import OutputType

    hints = get_type_hints(described, localns={"Callable": Callable, "OutputType": OutputType})
    return {field.name: (_written(hints[field.name]), _default(field)) for field in dataclasses.fields(described)}


def _default(field: "dataclasses.Field[Any]") -> Any:
    return ... if field.default is dataclasses.MISSING else field.default


def _written(annotation: Any) -> Any:
    """A type with text in place of functions: that is what an editor sees behind `!function`."""
    if annotation is Callable or get_origin(annotation) is Callable:
        return str
    if dataclasses.is_dataclass(annotation):
        return dict[str, Any]
    if type(annotation) is type(str | None):
        return reduce(or_, (_written(part) for part in get_args(annotation)))
    return annotation


def _rows_by_loader() -> list[Schema]:
    """Where the keys of `dataset_kwargs` are ours to describe."""
    own = {"properties": {"custom_dataset": {"const": "fin_plugins.tasks.own.load"}}, "required": ["custom_dataset"]}
    card = {"properties": {"fin": {"required": ["rows"]}}, "required": ["fin"]}
    shipped = {"properties": {"metadata": card}, "required": ["metadata"]}
    return [
        {"if": condition, "then": {"properties": {"dataset_kwargs": _ref(model.__name__)}}}
        for condition, model in ((own, OwnRows), (shipped, ShippedRows))
    ]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _of(model: type[BaseModel], name: str, title: str) -> Schema:
    schema = model.model_json_schema(schema_generator=_Generator)
    return _headed(f"{ADDRESS.rpartition('/')[0]}/{name}", title, _bounded(schema))


def _headed(address: str, title: str, schema: Schema) -> Schema:
    return {"$schema": _DIALECT, "$id": address, **schema, "title": title}


def _bounded(schema: Any) -> Any:
    """The same in JSON Schema's words: behind a validator of ours, pydantic leaves bounds in its own.

    Where names have a pattern, no others are allowed: pydantic does not say that.
    """
    if isinstance(schema, list):
        return [_bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "patternProperties" in schema else {}
    return closed | {
        name if isinstance(value, dict) else _BOUNDS.get(name, name): _bounded(value) for name, value in schema.items()
    }
