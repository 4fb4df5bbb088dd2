"""`fin data fetch`: raw files, then built splits, each step done only where it is not done already."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock

from fin_plugins.common.errors import FinError
from fin_plugins.data import guard, store
from fin_plugins.data.builders import build
from fin_plugins.data.clean import UNCLEANED, clean
from fin_plugins.data.fetch import OnBytes, fetch_file
from fin_plugins.data.folders import built_dir, raw_dir, writable
from fin_plugins.data.sources import Dataset, SourceFile


@dataclass(frozen=True)
class Built:
    """One data set after a fetch.

    Attributes:
        dataset: which one.
        manifest: what it holds.
        fresh: whether it was built now.
    """

    dataset: Dataset
    manifest: store.Manifest
    fresh: bool


def needed(chosen: Sequence[Dataset]) -> list[SourceFile]:
    """Return the raw files of the data sets, each once, in order."""
    return list(dict.fromkeys(source for dataset in chosen for source in dataset.sources))


def check_mirror(mirror: Path | None) -> None:
    """A folder of copies has to be there.

    Raises:
        FinError: it is not.
    """
    if mirror is not None and not mirror.is_dir():
        raise FinError(f"--mirror {mirror}: no such folder")


def fetch_raw(
    chosen: Sequence[Dataset], mirror: Path | None, on_bytes: OnBytes, on_file: Callable[[SourceFile, bool], None]
) -> None:
    """Bring the raw files of the data sets into the data folder.

    Args:
        chosen: the data sets.
        mirror: folder of copies, or None to download.
        on_bytes: told the bytes as they arrive.
        on_file: told each file when it is there, and whether it was fetched now.

    Raises:
        FinError: see `fetch.fetch_file`; also where the mirror is no folder.
    """
    check_mirror(mirror)
    for source in needed(chosen):
        on_file(source, fetch_file(source, raw_dir(), mirror, on_bytes))


def build_if_needed(dataset: Dataset) -> Built:
    """Build a data set from its raw files, unless a whole, current and uncorrupted build lies there.

    Raises:
        FinError: the data folder cannot be written.
    """
    folder = writable(built_dir(dataset.key))
    with FileLock(str(folder.with_name(f".{dataset.key}.lock"))):
        manifest = store.current(dataset)
        if manifest is not None and _sound(dataset, manifest):
            return Built(dataset, manifest, fresh=False)
        before, after = raw_splits(dataset, raw_dir())
        manifest = describe(dataset, before, after)
        store.write(folder, manifest, after)
    return Built(dataset, manifest, fresh=True)


def raw_splits(dataset: Dataset, raw: Path) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Return a data set's splits before and after the default cleaning, made from the raw files below `raw`.

    Raises:
        FinError: test rows are out of reach (`guard.test_rows_closed`).
    """
    guard.check_open(f"{dataset.task}: {raw}")
    before = build(dataset, raw)
    return before, before if dataset.key in UNCLEANED else clean(before)


def require_raw(dataset: Dataset) -> None:
    """Check that the raw files of a data set lie in the data folder.

    Raises:
        FinError: one is missing.
    """
    missing = [source for source in dataset.sources if not (raw_dir() / source.path).is_file()]
    if missing:
        raise FinError(f"{dataset.task}: {raw_dir() / missing[0].path} is missing: run `fin data fetch {dataset.task}`")


def describe(dataset: Dataset, before: dict[str, pd.DataFrame], after: dict[str, pd.DataFrame]) -> store.Manifest:
    """Return the manifest of a build."""
    return store.Manifest(
        **store.expected(dataset),  # type: ignore[arg-type]
        before={split: len(frame) for split, frame in before.items()},
        rows={split: len(frame) for split, frame in after.items()},
        hashes={split: store.content_hash(frame) for split, frame in after.items()},
    )


def _sound(dataset: Dataset, manifest: store.Manifest) -> bool:
    try:
        for split, content in manifest.hashes.items():
            store.read_split(built_dir(dataset.key) / f"{split}.parquet", dataset.task, content)
    except FinError:
        return False
    return True
