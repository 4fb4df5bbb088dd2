"""The data folder, and built data sets in it: one Parquet file per split, `manifest.json` written last."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from platformdirs import user_cache_dir

from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.data import split_guard
from fin_plugins.data.sources import Dataset

SCHEMA_VERSION = 1
# Raised when a change of the builders or of decontamination changes rows: builds of another version are built again.
BUILDER_VERSION = 2


@dataclass(frozen=True)
class Manifest:
    """Contents of a built data set; a build without one is incomplete.

    Attributes:
        schema: version of this layout.
        builder: version of the code that built the rows.
        sources: sha256 of the raw files, by path.
        before: rows per split before decontamination.
        rows: rows per split.
        hashes: content hash per split, from `content_hash`.
    """

    schema: int
    builder: int
    sources: dict[str, str]
    before: dict[str, int]
    rows: dict[str, int]
    hashes: dict[str, str]


def data_dir() -> Path:
    """The data folder: `FIN_DATA_DIR`, or `data` in the user's cache folder. It need not exist."""
    folder = os.environ.get("FIN_DATA_DIR")
    return Path(folder).expanduser().absolute() if folder else Path(user_cache_dir("fin-plugins")) / "data"


def raw_dir() -> Path:
    """The folder of the raw upstream files, laid out `<owner>/<repo>/<commit>/<path>`."""
    return data_dir() / "raw"


def built_dir(key: str) -> Path:
    """The folder of one built data set."""
    return data_dir() / "built" / key


def ensure_writable(folder: Path) -> Path:
    """Create the folder if necessary and return it.

    Raises:
        FinError: it cannot be written to.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def write_error(folder: Path, error: OSError) -> FinError:
    """The error for a folder that cannot be written to, with cause and remedy."""
    return FinError(
        f"{folder}: cannot write data there ({error.strerror or error}): "
        "free some space or set FIN_DATA_DIR to a writable folder"
    )


def content_hash(frame: pd.DataFrame) -> str:
    """The sha256 of the rows as canonical JSON lines, whatever library wrote or read the Parquet file."""
    columns = sorted(frame.columns)
    digest = hashlib.sha256()
    for row in zip(*(frame[name].tolist() for name in columns), strict=True):
        line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode("utf-8") + b"\n")
    return digest.hexdigest()


def expected_fields(dataset: Dataset) -> dict[str, object]:
    """The fields of a manifest that distinguish a current build from an outdated one."""
    pins = {source.path: source.sha256 for source in dataset.sources}
    return {"schema": SCHEMA_VERSION, "builder": BUILDER_VERSION, "sources": pins}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a built data set; None if it is missing or unreadable."""
    try:
        return Manifest(**json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def current_manifest(dataset: Dataset) -> Manifest | None:
    """The manifest of the data set's build; None if there is no build or it is outdated."""
    manifest = read_manifest(built_dir(dataset.key))
    if manifest is None or any(getattr(manifest, field) != value for field, value in expected_fields(dataset).items()):
        return None
    return manifest


def write_build(folder: Path, manifest: Manifest, splits: dict[str, pd.DataFrame]) -> None:
    """Write the splits and then the manifest, each atomically.

    An existing manifest is removed first, so that an interrupted build counts as none.

    Raises:
        FinError: the folder cannot be written to.
    """
    ensure_writable(folder)
    remove_unfinished_files(folder)
    try:
        (folder / "manifest.json").unlink(missing_ok=True)
        for split, frame in splits.items():
            write_file(folder / f"{split}.parquet", partial(frame.to_parquet, index=False))
        write_file(folder / "manifest.json", json.dumps(asdict(manifest), indent=1) + "\n")
    except OSError as error:
        raise write_error(folder, error) from error


def read_split(path: Path, task: str, expected_hash: str) -> pd.DataFrame:
    """Read one split and check that its rows are those in the manifest.

    Args:
        path: the Parquet file.
        task: name of the task, for the message.
        expected_hash: content hash from the manifest.

    Raises:
        FinError: the file is missing, unreadable or holds other rows, or it holds test rows and these are blocked.
    """
    if path.stem == split_guard.TEST:
        split_guard.assert_test_allowed(f"{task}: {path}")
    remedy = f"run `fin data fetch {task}` again to rebuild it"
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
        actual_hash = content_hash(frame)
    except Exception as error:  # pyarrow raises many types for a broken file
        raise FinError(f"{path}: unreadable ({first_line(error)}): {remedy}") from error
    if actual_hash != expected_hash:
        raise FinError(f"{path}: corrupted, its rows have hash {actual_hash}, not {expected_hash}: {remedy}")
    return frame
