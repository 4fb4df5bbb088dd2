"""YAML files that come with the package: found by name, listed, copied out to edit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import experiment_folder, merge_folder, training_folder
from fin_plugins.common.validation import did_you_mean

FOR_EDITORS = "# yaml-language-server:"
"""How a line begins that is for editors only."""


@dataclass(frozen=True)
class BundledConfigs:
    """The files of one kind.

    Attributes:
        kind: what such a file is called, as `recipe`.
        folder: gives the folder they lie in.
    """

    kind: str
    folder: Callable[[], Path]

    def files(self) -> dict[str, Path]:
        """The files by name."""
        return {config_name(file): file for file in sorted(self.folder().glob("*.yaml"))}

    def descriptions(self) -> dict[str, str]:
        """The first comment of each file, by name."""
        return {name: about(file) for name, file in self.files().items()}

    def listing(self, as_json: bool) -> str:
        """The same as text: a line each, or JSON."""
        about_each = self.descriptions()
        if as_json:
            return json.dumps(about_each, indent=1, ensure_ascii=False)
        width = max(map(len, about_each), default=0)
        return "\n".join(f"{name:<{width}}  {line}" for name, line in about_each.items())

    def find(self, name_or_path: str) -> Path:
        """The file that is meant: one at this path, or else the shipped one of this name.

        Raises:
            FinError: there is neither.
        """
        files = self.files()
        if is_file(name_or_path):
            return Path(name_or_path)
        if name_or_path in files:
            return files[name_or_path]
        state = "is a folder, not a file" if is_folder(name_or_path) else f"no such file or shipped {self.kind}"
        near = did_you_mean(config_name(Path(name_or_path)), files)
        raise FinError(f"{name_or_path}: {state}{near}; shipped are {', '.join(files)}")

    def copy(self, name_or_path: str, to: str) -> Path:
        """Write a file out to edit, unchanged.

        Args:
            name_or_path: the shipped file's name.
            to: the new file, or a folder for it; empty for the working folder.

        Raises:
            FinError: there is no such file, the new one is there already, or it cannot be written.
        """
        source = self.find(name_or_path)
        target = Path(to) / source.name if not to or is_folder(to) else Path(to)
        try:
            with source.open("rb") as read, target.open("xb") as written:
                shutil.copyfileobj(read, written)
        except FileExistsError as error:
            raise FinError(f"{target}: is there already, and is left alone: name another file, --copy FILE") from error
        except OSError as error:
            raise FinError(f"{target}: cannot be written ({error.strerror})") from error
        return target


def config_name(file: Path) -> str:
    """A file's name without its ending; `Path.stem` would cut `paper_2411.02476` short."""
    return file.name.removesuffix(".yaml").removesuffix(".yml")


def about(file: Path) -> str:
    """What a file says of itself: its first comment that is not for editors."""
    with file.open(encoding="utf-8") as lines:
        return next((line.lstrip("# ").strip() for line in lines if not line.startswith(FOR_EDITORS)), "")


def is_file(text: str) -> bool:
    """Whether the text names a file; False, too, for what no file can be named."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def is_folder(text: str) -> bool:
    """Whether the text names a folder; False, too, for what none can be named."""
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):
        return False


TRAINING_CONFIGS = BundledConfigs("configuration", training_folder)
MERGE_RECIPES = BundledConfigs("recipe", merge_folder)
MERGE_SEARCHES = BundledConfigs("search", lambda: merge_folder() / "search")
EXPERIMENTS = BundledConfigs("experiment", experiment_folder)
