"""The training files that come with the package: found by name, listed, copied out."""

import shutil
from pathlib import Path

from fin_plugins.errors import FinError
from fin_plugins.locations import training_folder
from fin_plugins.model_check import hint
from fin_plugins.tasks.schema_address import FOR_EDITORS
from fin_plugins.training.files.checks import is_file, is_folder


def shipped() -> dict[str, Path]:
    """The shipped files by name."""
    return {config_name(file): file for file in sorted(training_folder().glob("*.yaml"))}


def config_name(file: Path) -> str:
    """A file's name without its ending; `Path.stem` would cut `paper_2411.02476` short."""
    return file.name.removesuffix(".yaml").removesuffix(".yml")


def about(file: Path) -> str:
    """What a file says of itself: its first comment that is not for editors."""
    with file.open(encoding="utf-8") as lines:
        return next((line.lstrip("# ").strip() for line in lines if not line.startswith(FOR_EDITORS)), "")


def find(name_or_path: str) -> Path:
    """The file that is meant: one at this path, or else the shipped one of this name.

    Raises:
        FinError: there is neither.
    """
    files = shipped()
    if is_file(name_or_path):
        return Path(name_or_path)
    if name_or_path in files:
        return files[name_or_path]
    state = "is a folder, not a file" if is_folder(name_or_path) else "no such file or shipped configuration"
    near = hint(config_name(Path(name_or_path)), files)
    raise FinError(f"{name_or_path}: {state}{near}; shipped are {', '.join(files)}")


def copy(name_or_path: str, to: str) -> Path:
    """Write a file out to edit, unchanged.

    Args:
        name_or_path: the shipped file's name.
        to: the new file, or a folder for it; empty for the working folder.

    Raises:
        FinError: there is no such configuration, the new file is there already, or it cannot be written.
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
