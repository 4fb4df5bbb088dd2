"""The pinned raw files and the data sets made from them, as `sources.json` lists them."""

import difflib
import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fin_plugins.common.errors import FinError

PUBLIC_BASE_URL = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class SourceFile:
    """One raw file, pinned by commit and checksum.

    Attributes:
        path: `<owner>/<repo>/<commit>/<path>`, below the public base address and below a mirror folder alike.
        sha256: hexadecimal checksum of the whole file.
        bytes: its size.
    """

    path: str
    sha256: str
    bytes: int

    @property
    def commit(self) -> str:
        """The upstream commit, 40 hexadecimal digits."""
        return self.path.split("/")[2]

    @property
    def url(self) -> str:
        """The public address, or the one below `FIN_DATA_BASE_URL` where that is set."""
        base = os.environ.get("FIN_DATA_BASE_URL") or PUBLIC_BASE_URL
        return f"{base.rstrip('/')}/{quote(self.path)}"


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set before its rows are read.

    Attributes:
        key: short name, as in `fomc`; the task is called `fin_fomc`.
        title: one line for people.
        seen: whether the task belongs to the seen (trained) tasks.
        labels: the full label set, in the order of the task.
        sources: the raw files it is built from.
        licence: as stated upstream.
        upstream: the address of the upstream repository.
        citation: the paper that introduced the data.
        split: how the splits come about.
        notes: what a reader of a score must know.
    """

    key: str
    title: str
    seen: bool
    labels: tuple[str, ...]
    sources: tuple[SourceFile, ...]
    licence: str
    upstream: str
    citation: str
    split: str
    notes: tuple[str, ...]

    @property
    def task(self) -> str:
        """The name users type, `fin_<key>`."""
        return f"fin_{self.key}"


@cache
def datasets() -> dict[str, Dataset]:
    """Return every data set by key, in the order of the tasks."""
    listed = json.loads(files(__package__).joinpath("sources.json").read_text(encoding="utf-8"))
    return {key: _dataset(key, fields, listed["files"]) for key, fields in listed["datasets"].items()}


def _dataset(key: str, fields: dict[str, Any], pins: dict[str, Any]) -> Dataset:
    sources = tuple(SourceFile(path, **pins[path]) for path in fields["files"])
    plain = {name: fields[name] for name in ("title", "seen", "licence", "upstream", "citation", "split")}
    return Dataset(key=key, sources=sources, labels=tuple(fields["labels"]), notes=tuple(fields["notes"]), **plain)


def find(name: str) -> Dataset:
    """Return the data set called `name`, with or without the `fin_` of the task.

    Raises:
        FinError: there is no such data set; the message lists those there are.
    """
    known = datasets()
    key = name.removeprefix("fin_")
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f" (did you mean fin_{close[0]}?)" if close else ""
        raise FinError(f"{name}: no such data set{hint}; there are " + ", ".join(f"fin_{key}" for key in known))
    return known[key]


def locate(sources: tuple[SourceFile, ...], raw: Path, ending: str) -> Path:
    """Return where the one source whose path ends so lies below the folder `raw`."""
    (path,) = [source.path for source in sources if source.path.endswith(ending)]
    return raw / path
