"""Keys, types, metrics and filters of the installed lm-eval, read from it rather than copied.

Assumed of lm-eval (0.4.12 to 0.4.13):

- `config.task.TaskConfig` and `FewshotConfig`, `config.group.GroupConfig` and `AggMetricConfig` are dataclasses whose
  fields are the keys of task and group files; their annotations use `Callable` and `OutputType`.
- `api.registry` has `metric_registry`, `metric_agg_registry`, `aggregation_registry`, `filter_registry`, filled once
  `api.metrics` and `filters` are imported; `api.samplers.SAMPLER_REGISTRY` has the few-shot samplers.
- `ConfigurableTask.process_results` computes the metrics of `multiple_choice` in a branch with tests such as
  `"acc" in use_metric`.
"""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any, get_type_hints

Types = Mapping[str, Any]

_ACCEPTED_TYPES: dict[str, Any] = {
    "doc_to_target": int,
    "doc_to_text": int,
    "aggregate_metric_list": dict,
    "filter_list": str,
}
"""Types that lm-eval accepts besides the annotated ones: a choice's index, and a single entry instead of a list."""


@dataclass(frozen=True)
class ConfigClasses:
    """lm-eval's dataclasses for the content of its YAML files."""

    task: type
    fewshot: type
    group: type
    aggregate: type


def config_classes() -> ConfigClasses:
    """The dataclasses of a task, its `fewshot_config`, a group, and an entry of a group's `aggregate_metric_list`."""
    from lm_eval.config.group import AggMetricConfig, GroupConfig
    from lm_eval.config.task import FewshotConfig, TaskConfig

    return ConfigClasses(TaskConfig, FewshotConfig, GroupConfig, AggMetricConfig)


@cache
def task_types() -> Types:
    """Keys of a task and their types."""
    return _types(config_classes().task)


@cache
def fewshot_types() -> Types:
    """Keys of `fewshot_config` and their types."""
    return _types(config_classes().fewshot)


@cache
def group_types() -> Types:
    """Keys of a group and their types."""
    return _types(config_classes().group)


@cache
def aggregate_types() -> Types:
    """Keys of an entry of a group's `aggregate_metric_list` and their types."""
    return _types(config_classes().aggregate)


@cache
def task_keys() -> frozenset[str]:
    """Keys of a task file's first level; `class` and `task_list` are read before the task is made."""
    return frozenset({*task_types(), "class", "task_list"})


def _types(config: type) -> Types:
    """Types of a dataclass's fields; adds names that its module imports for type checkers only."""
    from lm_eval.api.instance import OutputType

    names = {**vars(sys.modules[config.__module__]), "Callable": Callable, "OutputType": OutputType}
    hints = get_type_hints(config, globalns=names)
    return MappingProxyType(
        {field.name: hints[field.name] | _ACCEPTED_TYPES.get(field.name, hints[field.name]) for field in fields(config)}
    )


@cache
def metrics() -> frozenset[str]:
    """Names of metrics."""
    from lm_eval.api import metrics as _registered  # noqa: F401 - importing it registers them
    from lm_eval.api.registry import metric_registry

    return frozenset(metric_registry)


@cache
def metrics_with_aggregation() -> frozenset[str]:
    """Names of metrics with a default aggregation."""
    metrics()
    from lm_eval.api.registry import metric_agg_registry

    return frozenset(metric_agg_registry)


@cache
def aggregations() -> frozenset[str]:
    """Names of aggregations."""
    metrics()
    from lm_eval.api.registry import aggregation_registry

    return frozenset(aggregation_registry)


@cache
def filters() -> frozenset[str]:
    """Names of filters."""
    from lm_eval import filters as _registered  # noqa: F401 - importing it registers them
    from lm_eval.api.registry import filter_registry

    return frozenset(filter_registry)


@cache
def samplers() -> frozenset[str]:
    """Names of few-shot samplers."""
    from lm_eval.api.samplers import SAMPLER_REGISTRY

    return frozenset(SAMPLER_REGISTRY)


@cache
def choice_metrics() -> frozenset[str]:
    """Metrics that lm-eval computes for `multiple_choice`, parsed from its source because it has no list of them.

    Empty if its code has changed too much.
    """
    from lm_eval.api.task import ConfigurableTask

    source = inspect.getsource(ConfigurableTask.process_results)
    _, matched, branch = source.partition('"multiple_choice"')
    branch = branch.split("self.OUTPUT_TYPE ==")[0]
    return frozenset(re.findall(r'"(\w+)" in use_metric', branch)) if matched else frozenset()
