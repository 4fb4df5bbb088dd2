"""Which files a path on the command line stands for."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fin_plugins.checks.read import may_be_meant, read_task_file, real_path
from fin_plugins.common.errors import FinError

_YAML = (".yaml", ".yml")


class Named(NamedTuple):
    """A file, and what the user calls it."""

    path: Path
    name: str


def find(paths: Iterable[str]) -> tuple[list[Named], list[str]]:
    """The files to check, and what was left out on the way.

    A file is checked whatever it is called. Of a folder, everything below that ends in .yaml or .yml is checked, but
    for what cannot be meant (no key of it is ours or lm-eval's) and what is only there to be included.

    Raises:
        FinError: there is no such file or folder, or no YAML in it.
    """
    found: dict[Path, Named] = {}
    notes: list[str] = []
    for given in paths:
        path = Path(given)
        if os.path.isdir(given):  # noqa: PTH112 - never raises, whatever the name
            for name, note in _folder(path):
                if note:
                    notes.append(note)
                else:
                    found.setdefault(real_path(name), Named(name, os.path.normpath(name)))
        elif os.path.lexists(given):  # what cannot be read is a finding
            found.setdefault(real_path(path), Named(path, os.path.normpath(given)))
        else:
            raise FinError(f"{given}: no such file or folder")
    return sorted(found.values(), key=lambda one: one.name), notes


def _folder(folder: Path) -> Iterator[tuple[Path, str | None]]:
    files = list(_yaml_files(folder))
    if not files:
        raise FinError(f"{folder}: no .yaml file in it, nor below")
    only_included = _only_included(files)
    for file in files:
        meant = real_path(file) not in only_included
        if meant and may_be_meant(file):
            yield file, None
        elif meant:
            yield file, f"{os.path.normpath(file)}: left out: no task, group or training file"


def _yaml_files(folder: Path) -> Iterator[Path]:
    """Hidden folders and those of caches are left out; links to folders are not followed."""
    for above, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(above) / name for name in sorted(files) if name.endswith(_YAML))


def _only_included(files: list[Path]) -> set[Path]:
    """Files that others include and that define nothing by themselves."""
    read = {real_path(file): read_task_file(file, str(file)) for file in files}
    included = {path for one in read.values() if one.file for path in one.file.stated}
    return {path for path in included if path in read and read[path].file is None}
