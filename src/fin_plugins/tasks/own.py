"""Loader of a user's own labelled data, for lm-eval's `custom_dataset`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, show_in_one_line
from fin_plugins.compat.lm_eval.tasks import read_task_file
from fin_plugins.tasks.documents import make_dataset_dict, show_licence
from fin_plugins.tasks.task_config import CUSTOM_DATASET_PLACEHOLDERS, CustomDatasetConfig

if TYPE_CHECKING:
    from datasets import DatasetDict

    from fin_plugins.tasks.custom_rows import CustomSplits

log = logging.getLogger(__name__)

_warned: set[tuple[str, ...]] = set()


def load(*, fin: dict[str, Any] | None = None, config_source: str | None = None, **kwargs: Any) -> "DatasetDict":
    """Load the data that a task YAML names under `dataset_kwargs`, whose keys are those of `CustomDatasetConfig`.

    Documents have `id` (the split and the row's number in the file), `text`, `label`, further columns, and what
    `tasks.documents` adds. The test split is left out while `split_guard.block_test_split` is active.

    Args:
        fin: the YAML's `metadata.fin`. Updated in place with `data`, `content_hash`, `control_tokens_broken` and
            `rows_dropped`: lm-eval takes a data set from this function and nothing else, but writes its `metadata`
            into the result file.
        config_source: path of the YAML, from lm-eval; paths are relative to it.
        kwargs: `dataset_kwargs`; lm-eval also passes the YAML's other metadata, the model's arguments and
            `--metadata`, which are not used.

    Raises:
        FinError: the YAML or the data is wrong.
    """
    show_in_one_line()
    from fin_plugins.data import split_guard
    from fin_plugins.data.dataset_store import content_hash
    from fin_plugins.tasks.custom_rows import read_custom_rows, reshuffle_warning

    yaml_file = _yaml_path(config_source)
    task = dict(read_task_file(yaml_file))
    config = _validated(kwargs, task.get("dataset_kwargs"), yaml_file)
    try:
        splits = read_custom_rows(config, yaml_file.parent)
    except FinError as error:
        raise FinError(f"{yaml_file}: {error}") from error
    _check_split_names(task, splits, yaml_file)
    if (warning := reshuffle_warning(config)) is not None:
        _warn_once(yaml_file, warning)
    dropped = _rows_dropped(splits, config)
    _log_dropped(dropped, yaml_file)
    metadata = {} if fin is None else fin
    show_licence(yaml_file.stem, metadata)
    columns = ["text", *config.columns.also]
    dataset, escaped = make_dataset_dict(splits.frames, columns, config.words, config.aliases, "real")
    hashes = {split: content_hash(frame) for split, frame in splits.frames.items()}
    metadata.update(data="real", content_hash=hashes, control_tokens_broken=escaped, rows_dropped=dropped)
    if split_guard.is_blocked():
        dataset.pop(split_guard.TEST, None)
    return dataset


def _warn_once(yaml_file: Path, message: str) -> None:
    """Warn once for a task and its generation variant, however often they are loaded."""
    warning = (str(yaml_file.parent), yaml_file.stem.removesuffix("_gen"), message)
    if warning not in _warned:
        _warned.add(warning)
        log.warning("%s: %s", yaml_file.name, message)


def _yaml_path(config_source: str | None) -> Path:
    if not config_source or config_source == "inline":
        raise FinError(
            "fin_plugins.tasks.own.load: lm-eval does not say which YAML names it, so relative paths cannot be "
            "resolved: define the task in its own YAML file"
        )
    return Path(config_source)


def _validated(kwargs: dict[str, Any], in_yaml: Any, yaml_file: Path) -> CustomDatasetConfig:
    """The keys that the model knows, and those under the YAML's `dataset_kwargs`, so that a misspelt one is found."""
    from fin_plugins.common.validation import validate

    keys = {*CustomDatasetConfig.model_fields, *(in_yaml if isinstance(in_yaml, dict) else ())}
    given = {key: value for key, value in kwargs.items() if key in keys}
    config, findings = validate(CustomDatasetConfig, given, CUSTOM_DATASET_PLACEHOLDERS)
    if config is None:
        problems = "; ".join(f"{'.'.join(map(str, ('dataset_kwargs', *key)))}: {message}" for key, message in findings)
        raise FinError(f"{yaml_file}: {problems}")
    return config


def _check_split_names(task: dict[str, Any], splits: "CustomSplits", yaml_file: Path) -> None:
    """Report a missing split by name, where lm-eval would raise a bare `KeyError: 'train'`."""
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        split = task.get(key)
        if split is not None and split not in splits.frames:
            raise FinError(
                f"{yaml_file}: {key}: {split}: the data has no such split; there are {', '.join(splits.frames)}"
            )


def _rows_dropped(splits: "CustomSplits", config: CustomDatasetConfig) -> dict[str, int]:
    dropped = {"no_text": splits.empty, "in_held_out_split": splits.leaks}
    return dropped | ({"label": splits.dropped} if config.drop_labels else {})


def _log_dropped(dropped: dict[str, int], yaml_file: Path) -> None:
    if dropped["no_text"]:
        log.warning("%s: dropped %d rows without text", yaml_file.name, dropped["no_text"])
    if dropped["in_held_out_split"]:
        log.warning(
            "%s: dropped %d train or validation rows whose text is also in a held-out split",
            *(yaml_file.name, dropped["in_held_out_split"]),
        )
