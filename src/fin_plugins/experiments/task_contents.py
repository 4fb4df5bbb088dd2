"""The content of tasks that step keys depend on: definitions with includes resolved, and hashes of their rows.

Functions count by their dotted names; a function in a file beside the task's counts by that file. The code of this
package is not part of any key, so a new release keeps earlier results; markers record which version made them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest, hash_files
from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval.tasks import TaskIndex, read_task_file

if TYPE_CHECKING:
    import pandas as pd

DataMode = Literal["real", "sample"]

_YAML = (".yaml", ".yml")
_BUNDLED_LOADER, _CUSTOM_LOADER = "fin_plugins.tasks.rows.load", "fin_plugins.tasks.own.load"
# Keys of a task file that are for scoring only: they affect neither train examples nor validation scores.
_SCORING_ONLY = frozenset(
    {
        *("test_split", "fewshot_split", "fewshot_config", "fewshot_delimiter", "num_fewshot", "metadata", "group"),
        *("metric_list", "process_results", "generation_kwargs", "filter_list", "repeats", "tag", "task_alias"),
    }
)
# Keys that name the files of rows; the rows themselves are hashed.
_ROW_FILES = ("file", "files")


@dataclass(frozen=True)
class Split:
    """Content hash and number of rows of one split."""

    content: str
    count: int


@dataclass(frozen=True)
class TaskContent:
    """A task as defined by its file, with its rows.

    Attributes:
        name: lm-eval's name of the task.
        file: the file that defines it.
        definition: content of the file, includes resolved.
        data: which rows to use.
    """

    name: str
    file: Path
    definition: Mapping[str, Any]
    data: DataMode = "real"

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Rows by name of the split."""
        return read_splits(self.definition, self.file, self.data)

    @property
    def seen(self) -> bool | None:
        """Whether the task is marked as seen; None if its file does not say."""
        fin = (self.definition.get("metadata") or {}).get("fin")
        return fin.get("seen") if isinstance(fin, dict) else None

    def rows(self, split: str) -> Split | None:
        """Rows of `training`, `validation`, `test` or `fewshot`, as lm-eval selects them; None if there are no rows."""
        name = self.definition.get(f"{split}_split")
        if name is None and split in ("test", "fewshot"):  # lm-eval's fallback
            name = self.definition.get("validation_split" if split == "test" else "training_split")
        return self.splits.get(str(name))

    def training_inputs(self) -> dict[str, Any]:
        """Everything of the task that an adapter trained on it depends on."""
        definition = {name: value for name, value in self.definition.items() if name not in _SCORING_ONLY}
        return {"says": self._normalized(definition), "rows": [self._hash("training"), self._hash("validation")]}

    def scoring_inputs(self, shots: int) -> dict[str, Any]:
        """Everything of the task that a model's score on it depends on."""
        rows = [self._hash("test"), self._hash("fewshot") if shots else None]
        return {"says": self._normalized(self.definition), "rows": rows}

    def _hash(self, split: str) -> str | None:
        rows = self.rows(split)
        return rows.content if rows else None

    def _normalized(self, definition: Mapping[str, Any]) -> Any:
        kwargs = definition.get("dataset_kwargs")
        if self.splits and isinstance(kwargs, dict):
            kwargs = {name: value for name, value in kwargs.items() if name not in _ROW_FILES}
            definition = {**definition, "dataset_kwargs": kwargs}
        return _without_folders(definition)


class TaskContents:
    """The tasks of an experiment, each read once."""

    def __init__(self, names: Sequence[str], data: DataMode = "real") -> None:
        """Read the task files.

        Args:
            names: tasks and groups to score.
            data: which rows to use.
        """
        self.files = TaskFiles(names)
        self._data: DataMode = data
        self._tasks: dict[tuple[str, Path], TaskContent] = {}
        self._training_files: dict[str, TaskFiles] = {}

    def to_score(self, *names: str) -> list[TaskContent]:
        """The tasks that names, paths and groups stand for in scoring.

        Raises:
            FinError: one does not exist.
        """
        return [self._task(self.files, leaf) for leaf in self.files.leaves(names)]

    def to_train(self, *names: str) -> list[TaskContent]:
        """The tasks that names, paths and groups stand for in a training file.

        There, a name means the bundled task even if the experiment scores the user's own task of the same name.

        Raises:
            FinError: one does not exist.
        """
        tasks = []
        for name in names:
            folder = str(Path(name).parent) if is_path(name) else ""
            files = self._training_files.get(folder)
            if files is None or not files.knows(name):
                files = self._training_files[folder] = TaskFiles([name])
            tasks += [self._task(files, leaf) for leaf in files.leaves([name])]
        return tasks

    def generative_variant(self, task: TaskContent) -> TaskContent | None:
        """The variant of a scored task that generates its answer; None if there is none."""
        name = self.files.generative_variant(task.name)
        return self._task(self.files, name) if name else None

    def _task(self, files: "TaskFiles", name: str) -> TaskContent:
        key = name, files.file(name)
        if key not in self._tasks:
            self._tasks[key] = TaskContent(*key, files.definition(name), self._data)
        return self._tasks[key]


class TaskFiles:
    """An index of all tasks and groups in reach: bundled, beside the files named, and lm-eval's if needed."""

    def __init__(self, names: Iterable[str]) -> None:
        """Index the files.

        Args:
            names: tasks and groups, by name or by path.
        """
        names = list(names)
        self.folders = tuple(dict.fromkeys(str(Path(name).parent) for name in names if is_path(name)))
        """Folders of the files named by path; lm-eval needs them as include paths."""
        folders = [str(task_folder()), *self.folders]
        self._index = TaskIndex(folders)
        if not {name for name in names if not is_path(name)} <= set(self._index):
            self._index = TaskIndex(folders, defaults=True)  # thousands of files: takes seconds

    def knows(self, name: str) -> bool:
        """Whether the task or group is in the index; for a path, whether its folder is."""
        return str(Path(name).parent) in self.folders if is_path(name) else name in self._index

    def leaves(self, names: Iterable[str]) -> list[str]:
        """Names of the tasks that names, paths and groups stand for, each once.

        Raises:
            FinError: one does not exist.
        """
        return list(dict.fromkeys(leaf for name in names for leaf in self._leaves(self._resolve(name))))

    def definition(self, name: str) -> dict[str, Any]:
        """Content of a task's file, includes resolved; functions are the text of their dotted names.

        Raises:
            FinError: the task does not exist.
        """
        return dict(read_task_file(self.file(name)))

    def file(self, name: str) -> Path:
        """The file of a task.

        Raises:
            FinError: the task does not exist.
        """
        file = self._index.file(name)
        if file is None:
            raise FinError(f"tasks: {name}: no such task; `fin eval ls tasks` lists all names")
        return file

    def generative_variant(self, name: str) -> str | None:
        """Name of the variant that generates its answer; None if there is none."""
        variant = f"{name}_gen"
        return variant if variant in self._index else None

    def _resolve(self, name: str) -> str:
        if not is_path(name):
            return name
        path = Path(name)
        for task in self._index:
            file = self._index.file(task)
            if file and file.name == path.name and file.resolve() == path.resolve():
                return task
        raise FinError(f"tasks: {name}: neither a task nor a group that lm-eval can read; `fin task check {name}`")

    def _leaves(self, name: str) -> Iterable[str]:
        members = self._index.members(name)
        if members is None:
            self.file(name)
            yield name
        else:
            for member in members:
                yield from self._leaves(member)


def is_path(name: str) -> bool:
    """Whether a task is given by the path of its file."""
    return Path(name).suffix in _YAML


def read_splits(definition: Mapping[str, Any], file: Path, data: DataMode) -> dict[str, Split]:
    """The splits of a task's rows, by name; empty for other projects' tasks, whose rows count by their address.

    Args:
        definition: content of the task's file.
        file: the task's file; paths are relative to it.
        data: `sample` for the embedded rows of bundled data sets.

    Raises:
        FinError: the user's own rows cannot be read.
    """
    loader = Path(str(definition.get("custom_dataset"))).name
    if loader == _BUNDLED_LOADER:
        return _bundled_splits(str(definition["metadata"]["fin"]["rows"]), data)
    return _custom_splits(definition, file) if loader == _CUSTOM_LOADER else {}


def _bundled_splits(name: str, data: DataMode) -> dict[str, Split]:
    """Splits as built; before the data is fetched, by the pinned sources, so that planning needs no download."""
    from fin_plugins.data.dataset_rows import sample_splits
    from fin_plugins.data.dataset_store import current_manifest, expected_fields
    from fin_plugins.data.sources import find

    dataset = find(name)
    embedded = _hash_splits(sample_splits(dataset))
    if data == "sample":
        return embedded
    fewshot = {name: split for name, split in embedded.items() if name == "fewshot"}
    manifest = current_manifest(dataset)
    if manifest is None:
        pinned = Split(digest(expected_fields(dataset)), 0)
        return {**fewshot, **dict.fromkeys(("train", "validation", "test"), pinned)}
    return {**fewshot, **{name: Split(content, manifest.rows[name]) for name, content in manifest.hashes.items()}}


def _custom_splits(definition: Mapping[str, Any], file: Path) -> dict[str, Split]:
    from fin_plugins.common.validation import validate
    from fin_plugins.tasks.custom_rows import read_custom_rows
    from fin_plugins.tasks.task_config import CUSTOM_DATASET_PLACEHOLDERS, CustomDatasetConfig

    kwargs = definition.get("dataset_kwargs")
    config, findings = validate(
        CustomDatasetConfig, dict(kwargs) if isinstance(kwargs, dict) else {}, CUSTOM_DATASET_PLACEHOLDERS
    )
    if config is None:
        faults = "; ".join(f"{'.'.join(map(str, key))}: {message}" for key, message in findings)
        raise FinError(f"{file}: dataset_kwargs: {faults}")
    try:
        return _hash_splits(read_custom_rows(config, file.parent).frames)
    except FinError as error:
        raise FinError(f"{file}: {error}") from error


def _hash_splits(frames: "Mapping[str, pd.DataFrame]") -> dict[str, Split]:
    from fin_plugins.data.dataset_store import content_hash

    return {name: Split(content_hash(frame), len(frame)) for name, frame in frames.items()}


def _without_folders(value: Any) -> Any:
    """The value without the folder that lm-eval puts in front of function names: it may be anywhere."""
    if isinstance(value, Mapping):
        return {str(name): _without_folders(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_without_folders(child) for child in value]
    if isinstance(value, str) and value.startswith("/") and "\n" not in value:
        return _function_content(Path(value))
    return value


def _function_content(path: Path) -> Any:
    """A function's dotted name, with the hash of its file if that is beside the task's; other files in the same way."""
    module = path.parent / f"{path.name.rpartition('.')[0].replace('.', '/')}.py"
    file = module if module.is_file() else path
    return [path.name, *hash_files([file], file.parent).values()] if file.is_file() else path.name
