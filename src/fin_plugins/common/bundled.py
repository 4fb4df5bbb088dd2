"""Configuration files that ship with the package: find by name, list, copy to edit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import experiment_folder, merge_folder, training_folder
from fin_plugins.common.validation import did_you_mean

FOR_EDITORS = "# yaml-language-server:"
"""Start of a comment that only editors read."""


@dataclass(frozen=True)
class BundledConfigs:
    """Bundled files of one kind.

    Attributes:
        kind: noun for such a file, for example `recipe`.
        folder: returns the folder of the files.
    """

    kind: str
    folder: Callable[[], Path]

    def files(self) -> dict[str, Path]:
        """Files by name."""
        return {config_name(file): file for file in sorted(self.folder().glob("*.yaml"))}

    def descriptions(self) -> dict[str, str]:
        """Descriptions by name: the first comment of each file."""
        return {name: about(file) for name, file in self.files().items()}

    def listing(self, as_json: bool) -> str:
        """Names and descriptions as text, one per line, or as JSON."""
        descriptions = self.descriptions()
        if as_json:
            return json.dumps(descriptions, indent=1, ensure_ascii=False)
        width = max(map(len, descriptions), default=0)
        return "\n".join(f"{name:<{width}}  {line}" for name, line in descriptions.items())

    def find(self, name_or_path: str) -> Path:
        """The file at this path if there is one, else the bundled file of this name.

        Raises:
            FinError: neither exists.
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
        """Copy a bundled file unchanged, for editing.

        Args:
            name_or_path: name of the bundled file.
            to: the new file, or its folder; empty: the working folder.

        Raises:
            FinError: the source does not exist, the target exists, or the target cannot be written.
        """
        source = self.find(name_or_path)
        target = Path(to) / source.name if not to or is_folder(to) else Path(to)
        try:
            with source.open("rb") as read, target.open("xb") as written:
                shutil.copyfileobj(read, written)
        except FileExistsError as error:
            raise FinError(
                f"{target}: already exists and was not changed: choose another file with --copy FILE"
            ) from error
        except OSError as error:
            raise FinError(f"{target}: cannot be written ({error.strerror})") from error
        return target


def config_name(file: Path) -> str:
    """A file's name without `.yaml`; `Path.stem` would truncate `paper_2411.02476`."""
    return file.name.removesuffix(".yaml").removesuffix(".yml")


def about(file: Path) -> str:
    """Description of a file: its first comment that is not for editors."""
    with file.open(encoding="utf-8") as lines:
        return next((line.lstrip("# ").strip() for line in lines if not line.startswith(FOR_EDITORS)), "")


def is_file(text: str) -> bool:
    """Whether the text is the path of a file; False if it cannot be a path at all."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def is_folder(text: str) -> bool:
    """Whether the text is the path of a folder; False if it cannot be a path at all."""
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):
        return False


TRAINING_CONFIGS = BundledConfigs("configuration", training_folder)
MERGE_RECIPES = BundledConfigs("recipe", merge_folder)
MERGE_SEARCHES = BundledConfigs("search", lambda: merge_folder() / "search")
EXPERIMENTS = BundledConfigs("experiment", experiment_folder)
