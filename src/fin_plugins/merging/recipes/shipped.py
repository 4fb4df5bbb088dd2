"""The recipes that come with the package: found by name, listed, copied out."""

import shutil
from pathlib import Path

from fin_plugins.errors import FinError
from fin_plugins.locations import merge_folder
from fin_plugins.model_check import hint
from fin_plugins.training.files.checks import is_file, is_folder
from fin_plugins.training.files.shipped import about, config_name


def shipped() -> dict[str, Path]:
    """The shipped recipes by name."""
    return {config_name(file): file for file in sorted(merge_folder().glob("*.yaml"))}


def listed() -> dict[str, str]:
    """What each shipped recipe says of itself, by name."""
    return {name: about(file) for name, file in shipped().items()}


def find(name_or_path: str) -> Path:
    """The recipe that is meant: a file at this path, or else the shipped one of this name.

    Raises:
        FinError: there is neither.
    """
    files = shipped()
    if is_file(name_or_path):
        return Path(name_or_path)
    if name_or_path in files:
        return files[name_or_path]
    state = "is a folder, not a file" if is_folder(name_or_path) else "no such file or shipped recipe"
    near = hint(config_name(Path(name_or_path)), files)
    raise FinError(f"{name_or_path}: {state}{near}; shipped are {', '.join(files)}")


def copy(name_or_path: str, to: str) -> Path:
    """Write a recipe out to edit, unchanged.

    Args:
        name_or_path: the shipped recipe's name.
        to: the new file, or a folder for it; empty for the working folder.

    Raises:
        FinError: there is no such recipe, the new file is there already, or it cannot be written.
    """
    source = find(name_or_path)
    target = Path(to) / source.name if not to or is_folder(to) else Path(to)
    try:
        with source.open("rb") as read, target.open("xb") as written:
            shutil.copyfileobj(read, written)
    except FileExistsError as error:
        raise FinError(f"{target}: is there already, and is left alone: name another file, --copy FILE") from error
    except OSError as error:
        raise FinError(f"{target}: cannot be written ({error.strerror})") from error
    return target
