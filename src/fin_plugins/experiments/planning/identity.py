"""What the result of a step depends on, told by content; a step's key is a hash of it.

Of a task it is what its file says, with all it includes, and its rows. Functions that it names count by their dotted
name, those in a file beside it by that file. The package's own code is no part of a key: a new release does not throw
results away; which version made one stands in its marker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.experiments.planning.rows import Split, splits
from fin_plugins.experiments.planning.task_files import TaskFiles, is_path

FORMAT = 1
"""Raised when what a step of the same key makes is another thing."""

# What a task's file says for scoring only: none of it reaches a train example or a validation score.
_SCORING = frozenset(
    {
        *("test_split", "fewshot_split", "fewshot_config", "fewshot_delimiter", "num_fewshot", "metadata", "group"),
        *("metric_list", "process_results", "generation_kwargs", "filter_list", "repeats", "tag", "task_alias"),
    }
)
# What says where rows lie; the rows themselves count.
_PLACES = ("file", "files")


def key(**parts: Any) -> str:
    """A step's key: 12 hexadecimal digits over all that its result depends on."""
    return digest({"format": FORMAT, **parts})[:12]


def model_content(path: str, revision: str | None = None) -> Any:
    """What tells a model from others.

    A folder counts by its weights, tokenizer and chat template. A model of the hub counts by its name and revision
    alone, so that a plan is the same before it is downloaded and after: name a commit where the branch may move.

    Args:
        path: folder or hub name.
        revision: of the hub's model.
    """
    folder = Path(path)
    if folder.is_dir() and revision is None:
        return digest(hash_files(model_files(folder), folder))
    return {"hub": path, "revision": revision}


@dataclass(frozen=True)
class Task:
    """A task as its file defines it.

    Attributes:
        name: lm-eval's name of it.
        file: where it is defined.
        definition: what the file says, includes resolved.
        data: which rows.
    """

    name: str
    file: Path
    definition: Mapping[str, Any]
    data: Literal["real", "sample"] = "real"

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Its rows by split."""
        return splits(self.definition, self.file, self.data)

    @property
    def seen(self) -> bool | None:
        """Whether its file calls it seen; None where it does not say."""
        fin = (self.definition.get("metadata") or {}).get("fin")
        return fin.get("seen") if isinstance(fin, dict) else None

    def rows(self, split: str) -> Split | None:
        """The rows of `training`, `validation`, `test` or `fewshot`, as lm-eval finds them; None where it has none."""
        name = self.definition.get(f"{split}_split")
        if name is None and split in ("test", "fewshot"):  # lm-eval's own order where a file does not say
            name = self.definition.get("validation_split" if split == "test" else "training_split")
        return self.splits.get(str(name))

    def trained(self) -> dict[str, Any]:
        """What an adapter that is trained on it depends on."""
        said = {name: value for name, value in self.definition.items() if name not in _SCORING}
        return {"says": self._plain(said), "rows": [self._content("training"), self._content("validation")]}

    def scored(self, shots: int) -> dict[str, Any]:
        """What a model's score on it depends on."""
        rows = [self._content("test"), self._content("fewshot") if shots else None]
        return {"says": self._plain(self.definition), "rows": rows}

    def _content(self, split: str) -> str | None:
        found = self.rows(split)
        return found.content if found else None

    def _plain(self, said: Mapping[str, Any]) -> Any:
        kwargs = said.get("dataset_kwargs")
        if self.splits and isinstance(kwargs, dict):
            said = {**said, "dataset_kwargs": {name: kwargs[name] for name in kwargs if name not in _PLACES}}
        return _without_folders(said)


class Tasks:
    """The tasks of an experiment, each read once."""

    def __init__(self, names: Sequence[str], data: Literal["real", "sample"] = "real") -> None:
        """Read the files.

        Args:
            names: the tasks and groups that are scored.
            data: which rows.
        """
        self.files = TaskFiles(names)
        self._data: Literal["real", "sample"] = data
        self._read: dict[tuple[str, Path], Task] = {}
        self._others: dict[str, TaskFiles] = {}

    def scored(self, *names: str) -> list[Task]:
        """The tasks that names, paths and groups stand for when models are scored.

        Raises:
            FinError: one is not there.
        """
        return [self._task(self.files, leaf) for leaf in self.files.leaves(names)]

    def trained(self, *names: str) -> list[Task]:
        """The tasks that names, paths and groups stand for in a training file.

        With a user's own copy of a shipped task at hand, the name there still means the shipped one.

        Raises:
            FinError: one is not there.
        """
        found = []
        for name in names:
            folder = str(Path(name).parent) if is_path(name) else ""
            files = self._others.get(folder)
            if files is None or not files.knows(name):
                files = self._others[folder] = TaskFiles([name])
            found += [self._task(files, leaf) for leaf in files.leaves([name])]
        return found

    def twin(self, task: Task) -> Task | None:
        """The one that generates the answer, when models are scored."""
        name = self.files.twin(task.name)
        return self._task(self.files, name) if name else None

    def _task(self, files: TaskFiles, name: str) -> Task:
        at = name, files.file(name)
        if at not in self._read:
            self._read[at] = Task(name, files.file(name), files.definition(name), self._data)
        return self._read[at]


def _without_folders(value: Any) -> Any:
    """The same with functions by name: lm-eval puts the folder of the file in front, which may lie anywhere."""
    if isinstance(value, Mapping):
        return {str(name): _without_folders(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_without_folders(below) for below in value]
    if isinstance(value, str) and value.startswith("/") and "\n" not in value:
        return _function(Path(value))
    return value


def _function(path: Path) -> Any:
    """A function's dotted name, and the content of its file where that lies beside the task's; other files likewise."""
    beside = path.parent / f"{path.name.rpartition('.')[0].replace('.', '/')}.py"
    file = beside if beside.is_file() else path
    return [path.name, *hash_files([file], file.parent).values()] if file.is_file() else path.name
