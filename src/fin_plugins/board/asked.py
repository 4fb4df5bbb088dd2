"""What was typed, against what there is: paths, models, tasks and names, each with the nearest that is known."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fin_plugins.board.model import Entry, Reading
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean


def existing(paths: Sequence[str], verbs: Iterable[str] = ()) -> list[Path]:
    """The paths.

    Args:
        paths: as typed.
        verbs: that one may have meant instead.

    Raises:
        FinError: one is not there.
    """
    for path in paths:
        if not Path(path).exists():
            raise FinError(f"{path}: no such file or folder{did_you_mean(path, verbs)}")
    return [Path(path) for path in paths]


def folder(path: Path) -> Path:
    """The folder to write to, which need not be there yet.

    Raises:
        FinError: it is a file, or below one.
    """
    for part in (path, *path.parents):
        if part.is_file():
            raise FinError(f"{part}: is a file: name a folder")
    return path


def known_model(option: str, model: str | None, reading: Reading) -> None:
    """Make sure that a model was read; None is fine.

    Raises:
        FinError: it was not.
    """
    if model is not None:
        _known(option, model, _models(reading), "model")


def known_tasks(option: str, tasks: Sequence[str], reading: Reading) -> None:
    """Make sure that each task was read.

    Raises:
        FinError: one was not.
    """
    for task in tasks:
        _known(option, task, [column.task for column in reading.columns], "task")


def used_names(names: Mapping[str, str], reading: Reading) -> None:
    """Make sure that every name given to a model is shown somewhere.

    Raises:
        FinError: one is not: no model that was read was called so before.
    """
    entries = (*_entries(reading), *reading.older)
    shown = {name for entry in entries for name in (entry.model, entry.base) if name}
    for what, name in names.items():
        # Reading may add what tells two models of one name apart, and cuts long names.
        if not any(one.startswith(" ".join(name.split())[:40]) for one in shown):
            raise FinError(f"--name {what}={name}: no model of that path or name was read{did_you_mean(what, shown)}")


def _models(reading: Reading) -> list[str]:
    return [entry.model for entry in _entries(reading)]


def _entries(reading: Reading) -> list[Entry]:
    return [entry for column in reading.columns for entry in column.entries]


def _known(option: str, name: str, known: Sequence[str], what: str) -> None:
    names = list(dict.fromkeys(known))
    if name not in names:
        # A part of a name is too far from the whole for a misspelling.
        parts = [one for one in names if name and name.casefold() in one.casefold()]
        near = did_you_mean(name, names) or (f" (did you mean {' or '.join(parts)}?)" if len(parts) in (1, 2) else "")
        raise FinError(f"{option} {name}: no such {what}{near}; there are {', '.join(names)}")
