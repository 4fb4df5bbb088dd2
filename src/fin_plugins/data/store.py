"""Built data sets on disk: one parquet a split, `manifest.json` written last."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError
from fin_plugins.data import guard
from fin_plugins.data.folders import built_dir, cannot_write, writable
from fin_plugins.data.sources import Dataset

SCHEMA_VERSION = 1
# Raised when a change of the builders or the cleaning changes rows: data built by another version is built again.
BUILDER_VERSION = 2


@dataclass(frozen=True)
class Manifest:
    """What a built data set holds; its presence says that the build is whole.

    Attributes:
        schema: version of this layout.
        builder: version of the code that made the rows.
        sources: sha256 by path of the raw files.
        before: rows a split before cleaning.
        rows: rows a split.
        hashes: content hash a split, as `content_hash` makes it.
    """

    schema: int
    builder: int
    sources: dict[str, str]
    before: dict[str, int]
    rows: dict[str, int]
    hashes: dict[str, str]


def content_hash(frame: pd.DataFrame) -> str:
    """Return the sha256 over the rows as canonical JSON lines: the same whatever wrote or read the parquet."""
    columns = sorted(frame.columns)
    digest = hashlib.sha256()
    for row in zip(*(frame[name].tolist() for name in columns), strict=True):
        line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode("utf-8") + b"\n")
    return digest.hexdigest()


def expected(dataset: Dataset) -> dict[str, object]:
    """Return the fields of a manifest that tell a current build from an old one."""
    pins = {source.path: source.sha256 for source in dataset.sources}
    return {"schema": SCHEMA_VERSION, "builder": BUILDER_VERSION, "sources": pins}


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a built data set, or None where there is none that can be read."""
    try:
        return Manifest(**json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def current(dataset: Dataset) -> Manifest | None:
    """Return the manifest of the data set's build, or None where none is there or it is of another version."""
    manifest = read_manifest(built_dir(dataset.key))
    if manifest is None or any(getattr(manifest, field) != value for field, value in expected(dataset).items()):
        return None
    return manifest


def write(folder: Path, manifest: Manifest, splits: dict[str, pd.DataFrame]) -> None:
    """Write the splits and then the manifest, each whole or not at all.

    An older manifest goes first, so that a build killed half-way reads as none.

    Raises:
        FinError: the folder cannot be written.
    """
    writable(folder)
    remove_unfinished_files(folder)
    try:
        (folder / "manifest.json").unlink(missing_ok=True)
        for split, frame in splits.items():
            write_file(folder / f"{split}.parquet", partial(frame.to_parquet, index=False))
        write_file(folder / "manifest.json", json.dumps(asdict(manifest), indent=1) + "\n")
    except OSError as error:
        raise cannot_write(folder, error) from error


def read_split(path: Path, task: str, content: str) -> pd.DataFrame:
    """Read one split and check that its rows are those the manifest speaks of.

    Test rows are refused while `guard.test_rows_closed` is in force.

    Args:
        path: the parquet file.
        task: name of the task, for the message.
        content: content hash the rows must have.

    Raises:
        FinError: the file is gone, unreadable or holds other rows, or test rows are out of reach.
    """
    if path.stem == guard.TEST:
        guard.check_open(f"{task}: {path}")
    mend = f"run `fin data fetch {task}` again, which builds it anew"
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
        actual = content_hash(frame)
    except Exception as error:  # pyarrow raises many kinds on a broken file, none of them more telling
        raise FinError(
            f"{path}: unreadable ({str(error).splitlines()[0] if str(error) else 'broken'}): {mend}"
        ) from error
    if actual != content:
        raise FinError(f"{path}: corrupted, its rows have hash {actual}, not {content}: {mend}")
    return frame
