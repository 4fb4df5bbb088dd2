"""Builds data sets: raw files → published splits with stable row ids → decontaminated splits in the data folder.

A change here that changes rows must raise `dataset_store.BUILDER_VERSION`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock

from fin_plugins.common.errors import FinError
from fin_plugins.data import dataset_store, raw_readers, split_guard, splitting
from fin_plugins.data.decontamination import decontaminate
from fin_plugins.data.sources import LEAKY_BY_DESIGN, Dataset, locate

Splits = dict[str, pd.DataFrame]
Locate = Callable[[str], Path]

_ORDER = ("train", "validation", "fewshot", "test")


@dataclass(frozen=True)
class BuildResult:
    """A data set in the data folder.

    Attributes:
        dataset: which data set.
        manifest: what the build contains.
        fresh: whether it was built just now.
    """

    dataset: Dataset
    manifest: dataset_store.Manifest
    fresh: bool


def build_if_needed(dataset: Dataset) -> BuildResult:
    """Build a data set from its raw files, unless a complete, current and uncorrupted build exists.

    Raises:
        FinError: the data folder cannot be written to.
    """
    folder = dataset_store.ensure_writable(dataset_store.built_dir(dataset.key))
    with FileLock(str(folder.with_name(f".{dataset.key}.lock"))):
        manifest = dataset_store.current_manifest(dataset)
        if manifest is not None and _is_intact(dataset, manifest):
            return BuildResult(dataset, manifest, fresh=False)
        before, after = build_splits(dataset, dataset_store.raw_dir())
        manifest = dataset_store.Manifest(
            **dataset_store.expected_fields(dataset),  # type: ignore[arg-type]
            before={split: len(frame) for split, frame in before.items()},
            rows={split: len(frame) for split, frame in after.items()},
            hashes={split: dataset_store.content_hash(frame) for split, frame in after.items()},
        )
        dataset_store.write_build(folder, manifest, after)
    return BuildResult(dataset, manifest, fresh=True)


def build_splits(dataset: Dataset, raw: Path) -> tuple[Splits, Splits]:
    """Build a data set's splits, before and after decontamination, from the raw files in the folder `raw`.

    Raises:
        FinError: test rows are blocked.
    """
    split_guard.assert_test_allowed(f"{dataset.task}: {raw}")
    before = published_splits(dataset, raw)
    return before, before if dataset.key in LEAKY_BY_DESIGN else decontaminate(before)


def published_splits(dataset: Dataset, raw: Path) -> Splits:
    """Read a data set's raw files and split its rows, before decontamination.

    Args:
        dataset: which data set.
        raw: folder with the verified raw files, laid out `<owner>/<repo>/<commit>/<path>`.

    Returns:
        One frame per split: `id` (such as `fomc-test-00012`), `text`, `label`, and `e1`, `e2` for the relation data
        sets. Ids follow the published order. Test rows are then shuffled with a fixed seed: some are published sorted
        by class, and the first N (`--limit N`) should cover all classes.
    """
    splits = _BUILDERS[dataset.key](lambda ending: locate(dataset.sources, raw, ending))
    rows = {split: _with_ids(splits[split], dataset.key, split) for split in _ORDER if split in splits}
    return {**rows, "test": splitting.shuffle_rows(rows["test"])}


def _with_ids(frame: pd.DataFrame, key: str, split: str) -> pd.DataFrame:
    ids = [f"{key}-{split}-{number:05d}" for number in range(len(frame))]
    columns = {"id": ids, **{name: frame[name].tolist() for name in frame.columns}}
    return pd.DataFrame(columns)


def _is_intact(dataset: Dataset, manifest: dataset_store.Manifest) -> bool:
    try:
        for split, expected_hash in manifest.hashes.items():
            path = dataset_store.built_dir(dataset.key) / f"{split}.parquet"
            dataset_store.read_split(path, dataset.task, expected_hash)
    except FinError:
        return False
    return True


def _fpb(path: Locate) -> Splits:
    sizes = {"positive": 277, "negative": 116, "neutral": 577}
    return splitting.split_like_flare(raw_readers.read_phrasebank(path("Sentences_50Agree.txt")), sizes)


def _fiqa(path: Locate) -> Splits:
    names = {"train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}
    return {split: raw_readers.read_fiqa(path(name)) for split, name in names.items()}


def _headline(path: Locate) -> Splits:
    return splitting.split_grouped(raw_readers.read_headlines(path("headlines.csv")), validation=928, test=1856)


def _finred(path: Locate) -> Splits:
    names = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    return {split: raw_readers.read_finred(path(name)) for split, name in names.items()}


def _finred_paper(path: Locate) -> Splits:
    return splitting.split_at_random(raw_readers.read_finred(path("train.txt")), validation=808, test=1616)


def _fomc(path: Locate) -> Splits:
    train = splitting.split_grouped(raw_readers.read_fomc(path("-train-5768.xlsx")), validation=199)
    return {**train, "test": raw_readers.read_fomc(path("-test-5768.xlsx"))}


def _argument(path: Locate) -> Splits:
    return {
        "train": raw_readers.read_argument_train(path("_Train.json")),
        "validation": raw_readers.read_argument_dev(path("_Dev.json")),
        "test": raw_readers.read_argument_test(path("_Test.json"), path("FinArg.zip")),
    }


def _deal(path: Locate) -> Splits:
    return {"test": raw_readers.read_deal(path("MA.json"))}


def _causal(path: Locate) -> Splits:
    return splitting.split_off_stratified_test(raw_readers.read_causal(path("-task1.csv")), 800)


def _causal_full(path: Locate) -> Splits:
    return {"test": raw_readers.read_causal(path("-task1.csv"))}


_BUILDERS: dict[str, Callable[[Locate], Splits]] = {
    "fpb": _fpb,
    "fiqa": _fiqa,
    "headline": _headline,
    "finred": _finred,
    "finred_paper": _finred_paper,
    "fomc": _fomc,
    "argument": _argument,
    "deal": _deal,
    "causal": _causal,
    "causal_full": _causal_full,
}
