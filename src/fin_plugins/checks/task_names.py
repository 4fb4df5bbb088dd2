"""Names of tasks and groups: which ones exist, and the rules on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from fin_plugins.checks.findings import Finding
from fin_plugins.checks.task_file import GENERATIVE_SUFFIX, TaskFile, load_task_file, real_path
from fin_plugins.common.foreign_files import read_bytes
from fin_plugins.common.locations import task_folder
from fin_plugins.common.yaml_nodes import Key

_NAME_LINE = re.compile(
    r"""^["']?(?:task|group)["']?[ \t]*:[ \t]*(["']?)([^\s"'#\[{|>&*!][^\n"'#]*?)\1[ \t]*(?:\#.*)?$""",
    re.MULTILINE,
)
_TAG_LINES = re.compile(r"""^["']?tag["']?[ \t]*:(.*(?:\n[ \t-].*)*)""", re.MULTILINE)
_TAG = re.compile(r"[^\s,\[\]\"'#]+")
_NAMING_LINES = re.compile(r"""^["']?(?:task|group|tag)["']?[ \t]*:.*(?:\n[ \t-].*)*""", re.MULTILINE)
_SUFFIXES = (".yaml", "")  # files that are only included have none
_UNUSABLE = re.compile(r"[\s,*?\[\]/\\]")


def lm_eval_folder() -> Path:
    """The folder of lm-eval's task files."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def lm_eval_names() -> dict[str, Path]:
    """lm-eval's tasks and groups, each with its file.

    Found by a regular expression: lm-eval's index parses fourteen thousand files and takes twenty times as long.
    """
    return {name: file for file, text in _lm_eval_texts().items() for _, name in _NAME_LINE.findall(text)}


@cache
def lm_eval_tags() -> dict[str, Path]:
    """lm-eval's tags, each with a file that has it."""
    texts = ((file, lines) for file, text in _lm_eval_texts().items() for lines in _TAG_LINES.findall(text))
    return {tag: file for file, lines in texts for tag in _TAG.findall(lines)}


@cache
def _lm_eval_texts() -> dict[Path, str]:
    """The lines that define names or tags, by file."""
    unsorted = (file for file in lm_eval_folder().rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    files = sorted(unsorted, key=lambda file: file.suffix)  # of two files with one name, lm-eval finds the .yaml file
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    lines = ("\n".join(match[0] for match in _NAMING_LINES.finditer(text)) for text in texts)
    return dict(zip(files, lines, strict=True))


@cache
def bundled_files() -> tuple[TaskFile, ...]:
    """The task and group files of this package."""
    files = (load_task_file(path, str(path)).file for path in sorted(task_folder().rglob("*.yaml")))
    return tuple(file for file in files if file)


def find_name_owner(name: str) -> Path | None:
    """The file of this package or of lm-eval with a task, group or tag of this name; None if the name is free."""
    bundled = next((file.path for file in bundled_files() if name == file.task_name or name in file.tags), None)
    owner = bundled or lm_eval_names().get(name) or lm_eval_tags().get(name)
    return owner if owner and owner.suffix == ".yaml" else None


@dataclass(frozen=True)
class TaskRegistry:
    """All tasks, groups and tags that a name may refer to.

    Attributes:
        checked: the files being checked.
    """

    checked: tuple[TaskFile, ...]

    @cached_property
    def _by_name(self) -> dict[str, TaskFile]:
        """The first file of each name; checked files come before bundled ones."""
        files = [*self.checked, *bundled_files()]
        return {name: file for file in reversed(files) if (name := file.task_name)}

    def get(self, name: str) -> TaskFile | None:
        """The checked or bundled file of a task or group."""
        return self._by_name.get(name)

    def is_known(self, name: str) -> bool:
        """Whether lm-eval finds a task, group or tag of this name."""
        if name in self._by_name or any(name in file.tags for file in self._by_name.values()):
            return True
        return name in lm_eval_names() or name in lm_eval_tags()

    def names(self) -> list[str]:
        """All names, for suggestions."""
        return [*self._by_name, *lm_eval_names()]


def check_names(file: TaskFile, registry: TaskRegistry) -> Iterator[Finding]:
    """Rules N01 to N06."""
    yield from _check_usable(file)
    yield from _check_suffix(file)
    yield from _check_unique(file, registry)
    yield from _check_base_task(file, registry)


def _check_usable(file: TaskFile) -> Iterator[Finding]:
    name = file.task_name
    match = _UNUSABLE.search(name) if name else None
    if match or name == "":
        problem = f"`{name}` contains `{match[0]}`, which --tasks does not accept in a name" if match else "is empty"
        yield file.finding("N04", _name_key(file), f"{problem}: use letters, digits and underscores")


def _check_suffix(file: TaskFile) -> Iterator[Finding]:
    if file.path.suffix != ".yaml":
        message = f"ends in {file.path.suffix or 'nothing'}, but --include_path only finds .yaml files: rename it"
        yield Finding(file.name, 1, 1, "", "N06", message)


def _check_unique(file: TaskFile, registry: TaskRegistry) -> Iterator[Finding]:
    """The name belongs to no other checked file and to no bundled or lm-eval task."""
    name = file.task_name
    if not name:
        return
    first = next(other for other in registry.checked if other.task_name == name)
    if first is not file:
        yield file.finding("N02", _name_key(file), f"`{name}` is also the name of {first.name}: only one is found")
    if _is_bundled(file):
        return
    if name in {bundled.task_name for bundled in bundled_files()}:
        message = f"`{name}` is a task of this package, and the file read last replaces the other: choose another name"
        yield file.finding("N03", _name_key(file), message)
    elif name in lm_eval_names():
        message = f"`{name}` is a task or group of lm-eval, which this file would replace: choose another name"
        yield file.finding("N01", _name_key(file), message)


def _check_base_task(file: TaskFile, registry: TaskRegistry) -> Iterator[Finding]:
    """A generative variant has the task whose prompt it shares."""
    name = file.task_name
    if not name or not name.endswith(GENERATIVE_SUFFIX) or file.kind != "task" or not file.is_fin_task:
        return
    base = name.removesuffix(GENERATIVE_SUFFIX)
    if base not in _included_names(file) and registry.get(base) is None:
        message = f"there is no task `{base}`: reports show the two side by side and match them by name"
        yield file.finding("N05", _name_key(file), message)


def _is_bundled(file: TaskFile) -> bool:
    """Whether the file is one of this package or of lm-eval, or an exact copy of one of this package."""
    path = real_path(file.path)
    if {task_folder().resolve(), lm_eval_folder().resolve()} & set(path.parents):
        return True
    original = next((bundled for bundled in bundled_files() if bundled.task_name == file.task_name), None)
    return original is not None and read_bytes(original.path) == read_bytes(path)


def _included_names(file: TaskFile) -> set[str]:
    bases = (load_task_file(path, str(path)).file for path in file.includes)
    return {name for base in bases if base and (name := base.task_name)}


def _name_key(file: TaskFile) -> Key:
    return ("group",) if file.kind == "group" else ("task",)
