"""Downloads the pinned raw files into the data folder, or copies them from a mirror folder."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock

from fin_plugins.common.atomic import remove_unfinished_files, unfinished_file
from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.progress import BYTES, progress
from fin_plugins.data.dataset_store import ensure_writable, raw_dir, write_error
from fin_plugins.data.sources import Dataset, SourceFile

RETRY_DELAYS: tuple[float, ...] = (0.5, 1.5, 4.0)
"""Seconds before each retry of a download that failed temporarily."""
_CHUNK = 1 << 18
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})

OnBytes = Callable[[int], None]


def raw_files(datasets: Sequence[Dataset]) -> list[SourceFile]:
    """The raw files of the data sets, each once, in order."""
    return list(dict.fromkeys(source for dataset in datasets for source in dataset.sources))


def check_mirror(mirror: Path | None) -> None:
    """Check that a mirror folder exists.

    Raises:
        FinError: it does not.
    """
    if mirror is not None and not mirror.is_dir():
        raise FinError(f"--mirror {mirror}: no such folder")


def fetch_raw(
    datasets: Sequence[Dataset], mirror: Path | None, on_bytes: OnBytes, on_file: Callable[[SourceFile, bool], None]
) -> None:
    """Bring the raw files of the data sets into the data folder.

    Args:
        datasets: the data sets.
        mirror: folder of copies, or None to download.
        on_bytes: called with the number of bytes as they arrive.
        on_file: called for each complete file, with whether it was fetched now.

    Raises:
        FinError: see `fetch_file`; or the mirror does not exist.
    """
    check_mirror(mirror)
    for source in raw_files(datasets):
        on_file(source, fetch_file(source, raw_dir(), mirror, on_bytes))


def require_raw(dataset: Dataset) -> None:
    """Check that the raw files of a data set are in the data folder.

    Raises:
        FinError: one is missing.
    """
    missing = [source for source in dataset.sources if not (raw_dir() / source.path).is_file()]
    if missing:
        raise FinError(f"{dataset.task}: {raw_dir() / missing[0].path} is missing: run `fin data fetch {dataset.task}`")


@contextmanager
def download_progress(total: int, title: str) -> Iterator[OnBytes]:
    """Show the progress of a download on standard error.

    Args:
        total: bytes of all files.
        title: what is being downloaded.

    Yields:
        The function to call with the number of bytes as they arrive.
    """
    say(f"{title}: {total / 1e6:.1f} MB")
    with progress(BYTES, total) as counter:
        yield counter.advance


def say_file(source: SourceFile, fetched: bool) -> None:
    """Print a line for a complete file, unless a progress bar is shown."""
    if not sys.stderr.isatty():
        say(f"{'fetched' if fetched else 'already there'}: {source.path} ({source.bytes:,} bytes)")


def fetch_file(source: SourceFile, raw: Path, mirror: Path | None = None, on_bytes: OnBytes = lambda n: None) -> bool:
    """Bring one raw file into the folder `raw` and verify it, unless it is already there with the right checksum.

    The file appears under its final name only once it is complete and verified. A lock lets two processes fetch the
    same file at once.

    Args:
        source: the file.
        raw: folder of the raw files.
        mirror: folder with the same files, laid out `<owner>/<repo>/<commit>/<path>`; None downloads.
        on_bytes: called with the number of bytes as they arrive; a negative number takes back those of a failed try.

    Returns:
        Whether anything was fetched.

    Raises:
        FinError: no network, missing in the mirror, wrong checksum, or the folder cannot be written to.
    """
    target = raw / source.path
    ensure_writable(target.parent)
    with FileLock(str(target.with_name(f".{target.name}.lock"))):
        if _checksum(target) == source.sha256:
            on_bytes(source.bytes)
            return False
        _fetch(source, target, mirror, on_bytes)
    return True


def _checksum(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(source: SourceFile, target: Path, mirror: Path | None, on_bytes: OnBytes) -> None:
    remove_unfinished_files(target.parent)
    try:
        with unfinished_file(target) as part:
            if mirror:
                checksum = _write(_mirror_chunks(source, mirror), part, on_bytes)
            else:
                checksum = _download(source, part, on_bytes)
            if checksum != source.sha256:
                origin = source.url if mirror is None else mirror / source.path
                raise FinError(
                    f"{origin}: checksum mismatch, expected sha256 {source.sha256}, got {checksum}: the file was "
                    "discarded; fetch again, or use copies from elsewhere with `fin data fetch --mirror DIR`"
                )
    except OSError as error:
        raise write_error(target.parent, error) from error


def _write(chunks: Iterator[bytes], part: Path, on_bytes: OnBytes) -> str:
    """Write the chunks and return their checksum."""
    digest = hashlib.sha256()
    with part.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def _mirror_chunks(source: SourceFile, mirror: Path) -> Iterator[bytes]:
    origin = mirror / source.path
    if not origin.is_file():
        raise FinError(f"{origin}: missing in the mirror: copy it there, or fetch without --mirror")
    try:
        with origin.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise FinError(f"{origin}: cannot be read ({error.strerror or error}): repair the mirror") from error


def _download(source: SourceFile, part: Path, on_bytes: OnBytes) -> str:
    for delay in (*RETRY_DELAYS, None):
        received = [0]

        def count(size: int, received: list[int] = received) -> None:
            received[0] += size
            on_bytes(size)

        try:
            return _write(_response_chunks(source), part, count)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            on_bytes(-received[0])
            if delay is None or not _is_temporary(error):
                raise _download_error(source, error) from error
            time.sleep(delay)
    raise AssertionError("the last try returns or raises")


def _response_chunks(source: SourceFile) -> Iterator[bytes]:
    with httpx.stream("GET", source.url, follow_redirects=True, timeout=30) as response:
        response.raise_for_status()
        yield from response.iter_bytes(_CHUNK)


def _is_temporary(error: httpx.HTTPError) -> bool:
    return not isinstance(error, httpx.HTTPStatusError) or error.response.status_code in _TEMPORARY


def _download_error(source: SourceFile, error: httpx.HTTPError) -> FinError:
    if isinstance(error, httpx.HTTPStatusError):
        cause = f"HTTP status {error.response.status_code}"
    else:
        cause = f"no network ({first_line(error)})"
    return FinError(
        f"{source.url}: cannot be downloaded, {cause}: check the connection, "
        "or use copies in a folder with `fin data fetch --mirror DIR`"
    )
