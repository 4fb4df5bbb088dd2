"""The bundled data sets and the pinned raw files that they are built from.

`sources.json` pins the files and describes the splits. Licence, source, citation and whether a task is seen are in
the task file alone (`metadata.fin`) and are read from there.
"""

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
from fin_plugins.common.locations import task_folder
from fin_plugins.common.yaml_file import parse_yaml

PUBLIC_BASE_URL = "https://raw.githubusercontent.com"
LEAKY_BY_DESIGN = frozenset({"finred_paper"})
"""The data set that repeats the paper's split with its leak, and is not decontaminated."""


@dataclass(frozen=True)
class SourceFile:
    """One raw file, pinned by commit and checksum.

    Attributes:
        path: `<owner>/<repo>/<commit>/<path>`, relative to the public base address or to a mirror folder.
        sha256: hexadecimal checksum of the file.
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
        """The public address; relative to `FIN_DATA_BASE_URL` if that is set."""
        base = os.environ.get("FIN_DATA_BASE_URL") or PUBLIC_BASE_URL
        return f"{base.rstrip('/')}/{quote(self.path)}"


@dataclass(frozen=True)
class Dataset:
    """A bundled data set, described without its rows.

    Attributes:
        key: short name, such as `fomc`; the task is called `fin_fomc`.
        title: one line for people.
        seen: whether the task is one of the seen (trained) tasks.
        labels: the full label set, in the order of data cards.
        sources: the raw files it is built from.
        licence: as stated upstream.
        upstream: address of the upstream repository.
        citation: the paper that introduced the data.
        split: where the splits come from.
        notes: what readers of a score must know.
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
    """All bundled data sets by key, in the order of the tasks.

    Raises:
        FinError: a task file is missing or damaged.
    """
    listing = json.loads(files(__package__).joinpath("sources.json").read_text(encoding="utf-8"))
    return {key: _dataset(key, fields, listing["files"]) for key, fields in listing["datasets"].items()}


def _dataset(key: str, fields: dict[str, Any], pins: dict[str, Any]) -> Dataset:
    metadata = _task_metadata(key)
    return Dataset(
        key=key,
        title=fields["title"],
        seen=metadata["seen"],
        labels=tuple(fields["labels"]),
        sources=tuple(SourceFile(path, **pins[path]) for path in fields["files"]),
        licence=metadata["licence"],
        upstream=metadata["source"],
        citation=metadata["citation"].rpartition(" https://")[0],
        split=fields["split"],
        notes=tuple(fields["notes"]),
    )


def _task_metadata(key: str) -> dict[str, Any]:
    file = task_folder() / "fin" / f"fin_{key}.yaml"
    try:
        metadata: dict[str, Any] = parse_yaml(file.read_bytes(), str(file), functions=True).data["metadata"]["fin"]
    except (OSError, KeyError, TypeError) as error:
        raise FinError(f"{file}: missing or damaged: reinstall fin-plugins") from error
    return metadata


def find(name: str) -> Dataset:
    """The data set of this name, with or without the task's prefix `fin_`.

    Raises:
        FinError: there is no such data set; the message lists all.
    """
    known = datasets()
    key = name.removeprefix("fin_")
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f" (did you mean fin_{close[0]}?)" if close else ""
        raise FinError(f"{name}: no such data set{hint}; there are " + ", ".join(f"fin_{key}" for key in known))
    return known[key]


def locate(sources: tuple[SourceFile, ...], raw: Path, ending: str) -> Path:
    """The path, in the folder `raw`, of the one source file whose path has this ending."""
    (path,) = [source.path for source in sources if source.path.endswith(ending)]
    return raw / path
