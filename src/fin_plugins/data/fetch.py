"""Bringing the pinned raw files into the data folder, from the public addresses or from a folder of copies."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from filelock import FileLock

from fin_plugins.common.atomic import remove_unfinished_files, unfinished_file
from fin_plugins.common.errors import FinError
from fin_plugins.data.folders import cannot_write, writable
from fin_plugins.data.sources import SourceFile

# Seconds waited before another try of a download that failed in passing.
WAITS: tuple[float, ...] = (0.5, 1.5, 4.0)
_CHUNK = 1 << 18
_PASSING = frozenset({408, 429, 500, 502, 503, 504})

OnBytes = Callable[[int], None]


def fetch_file(source: SourceFile, raw: Path, mirror: Path | None = None, on_bytes: OnBytes = lambda n: None) -> bool:
    """Bring one raw file below the folder `raw`, checked, unless it lies there already with the right checksum.

    What stands under the final name is always whole, and has the right checksum. A lock lets two fetches at once both
    end well.

    Args:
        source: the file.
        raw: folder of the raw files.
        mirror: folder with the same files, laid out `<owner>/<repo>/<commit>/<path>`; None downloads.
        on_bytes: told the bytes that arrived; a negative number takes back those of a failed try.

    Returns:
        Whether anything was fetched.

    Raises:
        FinError: no network, the mirror lacks the file, wrong checksum, or the folder cannot be written.
    """
    target = raw / source.path
    writable(target.parent)
    with FileLock(str(target.with_name(f".{target.name}.lock"))):
        if _checksum(target) == source.sha256:
            on_bytes(source.bytes)
            return False
        _take(source, target, mirror, on_bytes)
    return True


def _checksum(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _take(source: SourceFile, target: Path, mirror: Path | None, on_bytes: OnBytes) -> None:
    remove_unfinished_files(target.parent)
    try:
        with unfinished_file(target) as part:
            got = _write(_copied(source, mirror), part, on_bytes) if mirror else _download(source, part, on_bytes)
            if got != source.sha256:
                origin = source.url if mirror is None else mirror / source.path
                raise FinError(
                    f"{origin}: checksum mismatch, expected sha256 {source.sha256}, got {got}: "
                    "nothing was kept; fetch again, or take the file from elsewhere with `fin data fetch --mirror DIR`"
                )
    except OSError as error:
        raise cannot_write(target.parent, error) from error


def _write(chunks: Iterator[bytes], part: Path, on_bytes: OnBytes) -> str:
    """Write the chunks and return their checksum."""
    digest = hashlib.sha256()
    with part.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def _copied(source: SourceFile, mirror: Path) -> Iterator[bytes]:
    origin = mirror / source.path
    if not origin.is_file():
        raise FinError(f"{origin}: the mirror lacks this file: copy it there, or fetch without --mirror")
    try:
        with origin.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise FinError(f"{origin}: cannot be read ({error.strerror or error}): mend the mirror") from error


def _download(source: SourceFile, part: Path, on_bytes: OnBytes) -> str:
    for wait in (*WAITS, None):
        arrived = [0]

        def count(size: int, arrived: list[int] = arrived) -> None:
            arrived[0] += size
            on_bytes(size)

        try:
            return _write(_streamed(source), part, count)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            on_bytes(-arrived[0])
            if wait is None or not _passes(error):
                raise _unreachable(source, error) from error
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _streamed(source: SourceFile) -> Iterator[bytes]:
    with httpx.stream("GET", source.url, follow_redirects=True, timeout=30) as response:
        response.raise_for_status()
        yield from response.iter_bytes(_CHUNK)


def _passes(error: httpx.HTTPError) -> bool:
    return not isinstance(error, httpx.HTTPStatusError) or error.response.status_code in _PASSING


def _unreachable(source: SourceFile, error: httpx.HTTPError) -> FinError:
    what = f"HTTP status {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else "no network"
    detail = str(error).splitlines()[0] if str(error) and what == "no network" else ""
    return FinError(
        f"{source.url}: cannot be downloaded, {what}{f' ({detail})' if detail else ''}: check the connection, "
        "or take the files from a folder with `fin data fetch --mirror DIR`"
    )
