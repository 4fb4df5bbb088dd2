"""Checks of command-line options against the file system and the loaded runs, with suggestions for typing errors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fin_plugins.board.board_data import LoadedRuns
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean


def existing_paths(paths: Sequence[str], commands: Iterable[str] = ()) -> list[Path]:
    """The paths, all of which must exist.

    Args:
        paths: as typed.
        commands: subcommands to suggest for a mistyped one.

    Raises:
        FinError: a path does not exist.
    """
    for path in paths:
        if not Path(path).exists():
            raise FinError(f"{path}: no such file or folder{did_you_mean(path, commands)}")
    return [Path(path) for path in paths]


def check_output_folder(path: Path) -> Path:
    """The output folder, which need not exist yet.

    Raises:
        FinError: it is a file, or below one.
    """
    for part in (path, *path.parents):
        if part.is_file():
            raise FinError(f"{part}: is a file; give a folder")
    return path


def check_model(option: str, model: str | None, runs: LoadedRuns) -> None:
    """Check that a model is among the loaded runs; None passes.

    Raises:
        FinError: it is not.
    """
    if model is not None:
        models = [entry.model for column in runs.columns for entry in column.entries]
        _check_known(option, model, models, "model")


def check_tasks(option: str, tasks: Sequence[str], runs: LoadedRuns) -> None:
    """Check that each task is among the loaded runs.

    Raises:
        FinError: one is not.
    """
    for task in tasks:
        _check_known(option, task, [column.task for column in runs.columns], "task")


def check_names_used(names: Mapping[str, str], runs: LoadedRuns) -> None:
    """Check that every `--name` appears in the loaded runs.

    Raises:
        FinError: one does not, so its path or model matched nothing.
    """
    entries = (*(entry for column in runs.columns for entry in column.entries), *runs.older)
    displayed = {name for entry in entries for name in (entry.model, entry.base) if name}
    for key, name in names.items():
        # A long name is cut, and a suffix may distinguish two models of the same name.
        prefix = " ".join(name.split())[:40]
        if not any(model.startswith(prefix) for model in displayed):
            hint = did_you_mean(key, displayed)
            raise FinError(f"--name {key}={name}: no model with that path or name was read{hint}")


def _check_known(option: str, name: str, known: Sequence[str], noun: str) -> None:
    candidates = list(dict.fromkeys(known))
    if name in candidates:
        return
    hint = did_you_mean(name, candidates)
    # A part of a name is too different to count as a typing error.
    partial = [candidate for candidate in candidates if name and name.casefold() in candidate.casefold()]
    if not hint and len(partial) in (1, 2):
        hint = f" (did you mean {' or '.join(partial)}?)"
    raise FinError(f"{option} {name}: no such {noun}{hint}; there are {', '.join(candidates)}")
