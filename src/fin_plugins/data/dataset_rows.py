"""The rows of the bundled data sets, real or embedded as `FIN_DATA` says."""

import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd

from fin_plugins.common.errors import FinError
from fin_plugins.data import split_guard
from fin_plugins.data.dataset_store import built_dir, content_hash, current_manifest, read_split
from fin_plugins.data.sources import Dataset, find

# Variants share the embedded rows of the data set they are a variant of.
_SAMPLE_OF = {"finred_paper": "finred", "causal_full": "causal"}
# Data sets with test rows only: their few-shot examples are embedded rows.
_EMBEDDED_FEWSHOT = frozenset({"deal", "causal_full"})
_FEWSHOT_ONLY = _EMBEDDED_FEWSHOT | {"causal"}


@dataclass(frozen=True)
class DatasetRows:
    """The rows of one data set.

    Attributes:
        name: key of the data set, such as `fomc`.
        data_mode: `real` or `sample`.
        splits: one frame per split: `id`, `text`, `label`, and `e1`, `e2` for the relation data sets.
        hashes: content hash per split.
    """

    name: str
    data_mode: str
    splits: dict[str, pd.DataFrame]
    hashes: dict[str, str]


def read_rows(name: str) -> DatasetRows:
    """Read a data set's rows: those built by `fin data fetch`, or with `FIN_DATA=sample` the embedded ones.

    The split `test` is left out while `split_guard.block_test_split` is active.

    Args:
        name: `fomc` or `fin_fomc`.

    Raises:
        FinError: unknown data set, invalid `FIN_DATA`, data not fetched yet, or a corrupted file.
    """
    dataset = find(name)
    mode = data_mode()
    splits, hashes = _sample_rows(dataset) if mode == "sample" else _real_rows(dataset)
    if mode == "real" and dataset.key in _EMBEDDED_FEWSHOT:
        sample, sample_hashes = _sample_rows(dataset)
        splits["fewshot"], hashes["fewshot"] = sample["fewshot"], sample_hashes["fewshot"]
    return DatasetRows(dataset.key, mode, splits, hashes)


def data_mode() -> str:
    """`real` or `sample`, as `FIN_DATA` says; `real` if it is unset or empty.

    Raises:
        FinError: `FIN_DATA` is anything else.
    """
    mode = os.environ.get("FIN_DATA") or "real"
    if mode not in ("real", "sample"):
        raise FinError(f"FIN_DATA={mode}: must be real (or unset) or sample")
    return mode


def sample_splits(dataset: Dataset) -> dict[str, pd.DataFrame]:
    """The embedded rows of a data set, with ids such as `sample-fomc-test-003`.

    If the real data has no train split, the embedded train rows are the split `fewshot`.

    Raises:
        FinError: the installed package lacks the file.
    """
    table = pd.DataFrame(_sample_lines(_SAMPLE_OF.get(dataset.key, dataset.key)))
    splits = {}
    for split in ("train", "validation", *([] if split_guard.is_blocked() else [split_guard.TEST])):
        rows = table[table["split"] == split].drop(columns="split").reset_index(drop=True)
        name = "fewshot" if split == "train" and dataset.key in _FEWSHOT_ONLY else split
        rows.insert(0, "id", [f"sample-{dataset.key}-{name}-{number:03d}" for number in range(len(rows))])
        if len(rows):
            splits[name] = rows
    return splits


@cache
def _sample_lines(key: str) -> tuple[dict[str, str], ...]:
    source = files(__package__).joinpath("sample", f"{key}.jsonl")
    try:
        lines = source.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise FinError(f"{source}: the embedded rows are missing: reinstall fin-plugins") from error
    return tuple(json.loads(line) for line in lines if line.strip())


def _sample_rows(dataset: Dataset) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    splits = sample_splits(dataset)
    return splits, {split: content_hash(frame) for split, frame in splits.items()}


def _real_rows(dataset: Dataset) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    manifest = current_manifest(dataset)
    folder = built_dir(dataset.key)
    if manifest is None:
        state = "built by another version" if (folder / "manifest.json").exists() else "not fetched yet"
        raise FinError(
            f"{dataset.task}: data {state} (looked in {folder}): "
            f"run `fin data fetch {dataset.task}`, or set FIN_DATA=sample for the embedded rows"
        )
    splits = {
        split: read_split(folder / f"{split}.parquet", dataset.task, expected_hash)
        for split, expected_hash in manifest.hashes.items()
        if not (split == split_guard.TEST and split_guard.is_blocked())
    }
    return splits, dict(manifest.hashes)
