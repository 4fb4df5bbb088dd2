"""The reader that tasks use: rows by data set, real or embedded, as `FIN_DATA` says."""

import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd

from fin_plugins.common.errors import FinError
from fin_plugins.data import guard, store
from fin_plugins.data.folders import built_dir
from fin_plugins.data.sources import Dataset, find

# Variants share the embedded rows of the data set they are a variant of.
_SAMPLE_OF = {"finred_paper": "finred", "causal_full": "causal"}
# No rows of their own besides test: few-shot examples are the project's.
_BORROWED_FEWSHOT = frozenset({"deal", "causal_full"})
_FEWSHOT_ONLY = _BORROWED_FEWSHOT | {"causal"}


@dataclass(frozen=True)
class Rows:
    """The rows of one data set.

    Attributes:
        name: key of the data set, as in `fomc`.
        origin: `real` or `sample`.
        splits: one frame a split: `id`, `text`, `label`, and `e1`, `e2` for the relation data sets.
        hashes: content hash a split.
    """

    name: str
    origin: str
    splits: dict[str, pd.DataFrame]
    hashes: dict[str, str]


def read_rows(name: str) -> Rows:
    """Read a data set's rows: those built by `fin data fetch`, or with `FIN_DATA=sample` the embedded ones.

    While `guard.test_rows_closed` is in force, the split `test` is left out.

    Args:
        name: `fomc` or `fin_fomc`.

    Raises:
        FinError: unknown data set, `FIN_DATA` misspelt, data not fetched yet, or a corrupted file.
    """
    dataset = find(name)
    origin = chosen_origin()
    splits, hashes = _sample_rows(dataset) if origin == "sample" else _real_rows(dataset)
    if origin == "real" and dataset.key in _BORROWED_FEWSHOT:
        borrowed, borrowed_hashes = _sample_rows(dataset)
        splits["fewshot"], hashes["fewshot"] = borrowed["fewshot"], borrowed_hashes["fewshot"]
    return Rows(dataset.key, origin, splits, hashes)


def chosen_origin() -> str:
    """Return `real` or `sample`, as `FIN_DATA` says; `real` where it is unset or empty.

    Raises:
        FinError: `FIN_DATA` is anything else.
    """
    origin = os.environ.get("FIN_DATA") or "real"
    if origin not in ("real", "sample"):
        raise FinError(f"FIN_DATA={origin}: must be real (or unset) or sample")
    return origin


def sample_splits(dataset: Dataset) -> dict[str, pd.DataFrame]:
    """Return the embedded rows of a data set, ids as `sample-fomc-test-003`.

    Where the real data has no train split, the embedded train rows are the split `fewshot`.

    Raises:
        FinError: the installed package lacks the file.
    """
    listed = pd.DataFrame(_sample_lines(_SAMPLE_OF.get(dataset.key, dataset.key)))
    splits = {}
    for split in ("train", "validation", *([] if guard.closed() else [guard.TEST])):
        rows = listed[listed["split"] == split].drop(columns="split").reset_index(drop=True)
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
        raise FinError(f"{source}: the embedded rows are missing: install fin-plugins again") from error
    return tuple(json.loads(line) for line in lines if line.strip())


def _sample_rows(dataset: Dataset) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    splits = sample_splits(dataset)
    return splits, {split: store.content_hash(frame) for split, frame in splits.items()}


def _real_rows(dataset: Dataset) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    manifest = store.current(dataset)
    folder = built_dir(dataset.key)
    if manifest is None:
        state = "built by another version" if (folder / "manifest.json").exists() else "not fetched yet"
        raise FinError(
            f"{dataset.task}: data {state} (looked in {folder}): "
            f"run `fin data fetch {dataset.task}`, or set FIN_DATA=sample for the embedded rows"
        )
    splits = {
        split: store.read_split(folder / f"{split}.parquet", dataset.task, content)
        for split, content in manifest.hashes.items()
        if not (split == guard.TEST and guard.closed())
    }
    return splits, dict(manifest.hashes)
