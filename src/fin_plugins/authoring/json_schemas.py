"""JSON Schemas for editors, generated from lm-eval's dataclasses and from the models that our loaders read."""

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
from fin_plugins.experiments.experiment_config import Experiment
from fin_plugins.tasks.task_config import SCHEMA_URL, BundledDatasetConfig, CustomDatasetConfig, FinMetadata
from fin_plugins.training.train_config import TrainConfig

Schema = dict[str, Any]

_DIALECT = GenerateJsonSchema.schema_dialect
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


class _Metadata(BaseModel):
    """Copied into result files; `fin` is read by fin-plugins, other keys are ignored."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    version: float | str | None = None
    """Raise it whenever scores change their meaning."""
    fin: FinMetadata = None  # type: ignore[assignment]  # no `| None`: editors then name the very key that is wrong
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
    """Files whose keys also apply here unless this file overrides them; paths are relative to this file."""
    task_list: list[Any] | None = None
    """Further tasks that differ in single keys."""


def schemas() -> dict[str, Schema]:
    """The schemas by file name."""
    return {
        "task.schema.json": _with_header(SCHEMA_URL, "A task or a group of tasks", _task_or_group()),
        "training.schema.json": _model_schema(TrainConfig, "training.schema.json", "A training file"),
        "experiment.schema.json": _model_schema(Experiment, "experiment.schema.json", "An experiment file"),
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas to a folder; return their paths."""
    texts = {folder / name: json.dumps(schema, indent=1, ensure_ascii=False) for name, schema in schemas().items()}
    for path, text in texts.items():
        write_file(path, text + "\n")
    return list(texts)


class _Generator(GenerateJsonSchema):
    """pydantic's generator without a title for each key, which would only repeat the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _task_or_group() -> Schema:
    task, group = _models()
    models: list[tuple[type[BaseModel], Literal["validation"]]] = [
        (model, "validation") for model in (task, group, CustomDatasetConfig, BundledDatasetConfig)
    ]
    _, schema = models_json_schema(models, schema_generator=_Generator)
    schema["$defs"]["Task"]["allOf"] = _dataset_conditions()
    group_or_task = {"if": {"required": ["group"]}, "then": _ref("Group"), "else": _ref("Task")}
    # A Python class may read any keys.
    return {"if": {"required": ["class"]}, "then": {}, "else": group_or_task, **_standardise(schema)}


def _models() -> tuple[type[BaseModel], type[BaseModel]]:
    """Models of a task file and of a group file that allow only lm-eval's keys.

    For some keys lm-eval's code accepts more than its annotations state; these are overridden here.
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
    # A group hands any other key down to its tasks.
    members = (str | list[str | dict[str, Any]] | None, None)
    group_only: dict[str, Any] = {"task": members, "aggregate_metric_list": aggregates, "metadata": ours["metadata"]}
    of_group = {**of_task, **_fields(classes.group), **group_only}
    return task, create_model("Group", __base__=_Structure, __doc__="A group of tasks.", **of_group)


def _fields(config: type) -> dict[str, Any]:
    """The fields of one of lm-eval's dataclasses for `create_model`: type in a YAML file, and default."""
    from lm_eval.api.instance import OutputType

    hints = get_type_hints(config, localns={"Callable": Callable, "OutputType": OutputType})
    return {field.name: (_yaml_type(hints[field.name]), _default(field)) for field in dataclasses.fields(config)}


def _default(field: "dataclasses.Field[Any]") -> Any:
    return ... if field.default is dataclasses.MISSING else field.default


def _yaml_type(annotation: Any) -> Any:
    """A type with text in place of functions, because an editor sees the text behind `!function`."""
    if annotation is Callable or get_origin(annotation) is Callable:
        return str
    if dataclasses.is_dataclass(annotation):
        return dict[str, Any]
    if type(annotation) is type(str | None):
        return reduce(or_, (_yaml_type(part) for part in get_args(annotation)))
    return annotation


def _dataset_conditions() -> list[Schema]:
    """The schemas of `dataset_kwargs` by loader; those of other loaders are unknown."""
    custom = {"properties": {"custom_dataset": {"const": "fin_plugins.tasks.own.load"}}, "required": ["custom_dataset"]}
    card = {"properties": {"fin": {"required": ["rows"]}}, "required": ["fin"]}
    bundled = {"properties": {"metadata": card}, "required": ["metadata"]}
    return [
        {"if": condition, "then": {"properties": {"dataset_kwargs": _ref(model.__name__)}}}
        for condition, model in ((custom, CustomDatasetConfig), (bundled, BundledDatasetConfig))
    ]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _model_schema(model: type[BaseModel], name: str, title: str) -> Schema:
    schema = model.model_json_schema(schema_generator=_Generator)
    return _with_header(f"{SCHEMA_URL.rpartition('/')[0]}/{name}", title, _standardise(schema))


def _with_header(address: str, title: str, schema: Schema) -> Schema:
    return {"$schema": _DIALECT, "$id": address, **schema, "title": title}


def _standardise(schema: Any) -> Any:
    """The schema with JSON Schema's names for bounds, where pydantic leaves its own behind one of our validators.

    If names have a pattern, no other names are allowed, which pydantic does not state.
    """
    if isinstance(schema, list):
        return [_standardise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "patternProperties" in schema else {}
    return closed | {
        name if isinstance(value, dict) else _BOUNDS.get(name, name): _standardise(value)
        for name, value in schema.items()
    }
