"""Where the rows of a new task are: one file, one a split, or a hub data set."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    import pandas as pd

_HUB = "hf:"


@dataclass(frozen=True)
class Source:
    """Rows as named on the command line.

    Attributes:
        frames: the tables, by the names that their splits have; one file is `all`.
        keys: what the YAML says under `dataset_kwargs` to have the same rows.
        shown: the file, files or hub data set in a few words.
    """

    frames: "dict[str, pd.DataFrame]"
    keys: dict[str, Any]
    shown: str

    @property
    def has_splits(self) -> bool:
        """Whether one of the tables is a test split."""
        from fin_plugins.tasks.own_rows import SPLIT_NAMES

        return any(SPLIT_NAMES.get(name.lower()) == "test" for name in self.frames)


def read_source(data: Sequence[str], folder: Path, sheet: str | None = None, encoding: str | None = None) -> Source:
    """Read what `--data` names.

    Args:
        data: one file, several as `train=FILE`, or `hf:OWNER/NAME`, `hf:OWNER/NAME:CONFIG@REVISION`, `hf:./FOLDER`.
        folder: where the YAML will lie; the keys name files relative to it.
        sheet: the sheet of a workbook.
        encoding: of a text file.

    Raises:
        FinError: the rows cannot be read, or cannot be named relative to the YAML.
    """
    given = {key: value for key, value in (("sheet", sheet), ("encoding", encoding)) if value is not None}
    if len(data) == 1 and data[0].startswith(_HUB):
        if given:
            raise FinError(f"--{next(iter(given))}: is for files, not for hub data sets")
        return _hub(data[0].removeprefix(_HUB), folder)
    from fin_plugins.data.tables import read_table

    files = _files(data)
    frames = {split: read_table(Path(path), sheet, encoding) for split, path in files.items()}
    named = {split: relative(Path(path), folder) for split, path in files.items()}
    keys: dict[str, Any] = {"file": named["all"]} if list(named) == ["all"] else {"files": named}
    return Source(frames, keys | given, ", ".join(Path(path).name for path in files.values()))


def relative(path: Path, folder: Path) -> str:
    """A path as it is to be named in a file in `folder`.

    Raises:
        FinError: the two are on different drives.
    """
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError as error:
        raise FinError(f"{path}: on another drive than {folder}, so it has no relative path: copy it there") from error


def _files(data: Sequence[str]) -> dict[str, str]:
    from fin_plugins.tasks.own_rows import SPLIT_NAMES

    if len(data) == 1 and (Path(data[0]).exists() or "=" not in data[0]):
        return {"all": data[0]}
    files: dict[str, str] = {}
    for one in data:
        name, equals, path = one.partition("=")
        split = SPLIT_NAMES.get(name.lower())
        if not equals or split is None:
            raise FinError(f"--data {one}: several files are named as train=FILE, validation=FILE, test=FILE")
        if split in files:
            raise FinError(f"--data {one}: {split} is named twice")
        files[split] = path
    return files


def _hub(name: str, folder: Path) -> Source:
    from fin_plugins.data.hub import read_hub

    if name.startswith((".", "/", "~")):
        path = relative(Path(name).expanduser(), folder)
        path = path if path.startswith("../") else f"./{path}"
        return Source(read_hub(path, folder), {"hub": path}, path)
    plain, _, revision = name.partition("@")
    plain, _, config = plain.partition(":")
    frames = read_hub(plain, folder, config or None, revision or None)
    keys = {"hub": plain, "hub_config": config, "hub_revision": revision}
    return Source(frames, {key: value for key, value in keys.items() if value}, plain)
