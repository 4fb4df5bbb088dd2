"""Reads a search file: everything that is wrong with it in one go, each with its line, before anything is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.bundled import MERGE_SEARCHES, config_name, is_file, is_folder
from fin_plugins.common.validation import Finding, did_you_mean, validate
from fin_plugins.common.yaml_file import Problems, read_yaml
from fin_plugins.merging.search.config import SearchConfig
from fin_plugins.training.files import overrides as changing
from fin_plugins.training.files.checks import our_tasks

_PLACEHOLDERS = {
    "base": "demo",
    "experts": {name: {"path": name, "tasks": [name]} for name in ("first", "second")},
}


@dataclass(frozen=True)
class Configured:
    """A search file, read.

    Attributes:
        config: what it says, changes made.
        name: of the file, without its ending.
    """

    config: SearchConfig
    name: str

    @property
    def output(self) -> Path:
        """Folder of the study."""
        return Path(self.config.output or Path("results") / "search" / self.name)


def read_search(name_or_path: str, settings: Sequence[str] = ()) -> Configured:
    """Read a search file.

    Args:
        name_or_path: a file, or the name of a shipped one.
        settings: changes as typed behind `--set`, `a.b=value`; a later one wins.

    Raises:
        FinError: there is no such file, or it cannot be read.
        Problems: all that is wrong with it and with the settings.
    """
    source = MERGE_SEARCHES.find(name_or_path)
    file = read_yaml(source)
    changes, problems = changing.change(file.data, settings)
    problems += file.problems
    config, findings = validate(SearchConfig, file.data, _PLACEHOLDERS)
    problems += [changing.placed(key, message, file, changes) for key, message in [*findings, *missing(file.data)]]
    if problems or config is None:
        raise Problems(problems)
    return Configured(config, config_name(source))


def missing(data: dict[str, Any]) -> Iterator[Finding]:
    """What the file names and is not there; the data may have any form."""
    experts = data.get("experts")
    for name, expert in experts.items() if isinstance(experts, dict) else ():
        path, tasks = (expert.get(key) if isinstance(expert, dict) else None for key in ("path", "tasks"))
        if isinstance(path, str) and path and not is_folder(str(Path(path).expanduser())):
            yield ("experts", name, "path"), f"{path}: no such folder"
        for number, task in enumerate(tasks if isinstance(tasks, list) else ()):
            if isinstance(task, str) and task.startswith("fin_") and not is_file(task) and task not in our_tasks():
                yield ("experts", name, "tasks", number), f"{task}: no such task{did_you_mean(task, our_tasks())}"
    unlabelled = data.get("unlabelled")
    rows = unlabelled.get("instructions") if isinstance(unlabelled, dict) else unlabelled
    if isinstance(rows, str) and rows and not is_file(rows):
        yield ("unlabelled",), f"{rows}: no such file"
