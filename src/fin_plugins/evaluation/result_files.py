"""Result and sample files: written by lm-eval's own tracker, moved into place as a complete set, written only once."""

import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.answer_cache import CACHE_FOLDER, unwritable_output, write_output

# The parts of lm-eval's results that equal answers make equal; dates and machine descriptions change with every run.
_STABLE_SECTIONS = (
    *("results", "groups", "group_subtasks", "configs", "versions", "n-shot"),
    *("higher_is_better", "n-samples", "config"),
)
_SECTIONS_BY_TASK = ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples")
# Conditions that distinguish two runs of a model on the board, whatever else they have in common.
_CONDITION_SECTIONS = ("n-samples", "n-shot", "versions")
_MEMORY_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_DATE_IN_NAME = re.compile(r"_(\d{4}-\d\d-\d\dT[\d.-]+)\.json$")
_ABANDONED_AFTER = 24 * 3600
"""Seconds after which the unfinished files of a killed run are removed."""


def task_hashes(results: Mapping[str, Any], samples: Mapping[str, Any] | None, model_hash: str) -> dict[str, str]:
    """A hash by task of its results and answers, and of the model.

    Args:
        results: lm-eval's results.
        samples: lm-eval's samples by task, if logged.
        model_hash: the model's content hash.
    """
    hashes = {}
    for task in results["configs"]:
        sections = [results.get(name, {}).get(task) for name in _SECTIONS_BY_TASK]
        parts = [model_hash, sections, (samples or {}).get(task)]
        hashes[task] = sha256(b"".join(map(_content_hash, parts))).hexdigest()
    return hashes


def fingerprint(results: Mapping[str, Any], tasks: Mapping[str, str]) -> str:
    """A hash of everything that two runs with equal answers write identically.

    Args:
        results: lm-eval's results.
        tasks: from `task_hashes`, which include the samples and the model.
    """
    stable = {name: results[name] for name in _STABLE_SECTIONS if name in results}
    return sha256(_content_hash(stable) + _content_hash(sorted(tasks.items()))).hexdigest()


class ResultFolder:
    """The result files below `--output_path`, which lm-eval takes as a folder, or as a file if it ends in .json."""

    def __init__(self, output_path: str) -> None:
        self._output_path = Path(output_path)
        self.root = self._output_path.parent if self._output_path.suffix == ".json" else self._output_path
        self._cache_folder = self.root / CACHE_FOLDER

    def find(self, mark: str, tasks: Mapping[str, str]) -> list[Path] | None:
        """Files that an earlier run wrote for results with this fingerprint, if they are still the newest.

        If other results of the model have been written since, these must be written again with today's date, because
        the newest evaluation counts. Files left by a run that was killed while writing are removed.

        Args:
            mark: from `fingerprint`.
            tasks: from `task_hashes`.

        Returns:
            The files, the result file last; None if they must be written.
        """
        sizes = _read_file_sizes(self._list_file(mark))
        if not sizes:
            return None
        files = [self.root / name for name in sizes]
        if all(file.is_file() and file.stat().st_size == sizes[name] for file, name in zip(files, sizes, strict=True)):
            return files if _is_newest(files[-1], tasks, self._task_hashes_by_file) else None
        if not files[-1].exists():
            for file in files:
                file.unlink(missing_ok=True)
        return None

    def save(
        self,
        mark: str,
        tasks: Mapping[str, str],
        tracker: Any,
        results: dict[str, Any],
        samples: dict[str, Any] | None,
    ) -> list[Path]:
        """Let lm-eval write the files, then move them into place, the result file last so that it is never alone.

        Returns:
            The files, the result file last.

        Raises:
            FinError: the files could not be written, of which lm-eval itself only warns.
        """
        try:
            with self._temporary_folder() as temporary, _without_saving_messages():
                is_folder = self.root == self._output_path
                tracker.output_path = str(temporary if is_folder else temporary / self._output_path.name)
                tracker.save_results_aggregated(results=results, samples=samples)
                for task in results["configs"] if samples is not None else ():
                    tracker.save_results_samples(task_name=task, samples=samples[task] if samples else {})
                files = sorted(temporary.rglob("*.json*"), key=lambda file: (file.suffix == ".json", file.name))
                expected = 1 + (len(results["configs"]) if samples is not None else 0)
                if len(files) != expected or files[-1].suffix != ".json":
                    raise FinError(
                        f"{self.root}: lm-eval wrote {len(files)} of {expected} result and sample files; the reason is "
                        "logged above, the answers are cached, and the same command writes the files again"
                    )
                return self._move_into_place(mark, tasks, temporary, files)
        except OSError as error:
            raise unwritable_output(self.root, error) from error

    def _move_into_place(
        self, mark: str, tasks: Mapping[str, str], temporary: Path, files: Sequence[Path]
    ) -> list[Path]:
        sizes = {str(file.relative_to(temporary)): file.stat().st_size for file in files}
        content = {"files": list(sizes.items()), "tasks": dict(tasks)}
        write_output(self._list_file(mark), json.dumps(content, indent=1))
        targets = [self.root / name for name in sizes]
        for file, target in zip(files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        return targets

    def _task_hashes_by_file(self) -> dict[Path, dict[str, str]]:
        """Task hashes of each result file in this folder that `fin eval` wrote."""
        hashes = {}
        for file in (self._cache_folder / "written").glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
                content = json.loads(file.read_text(encoding="utf-8"))
                hashes[self.root / content["files"][-1][0]] = dict(content["tasks"])
        return hashes

    def _list_file(self, mark: str) -> Path:
        return self._cache_folder / "written" / f"{mark}.json"

    @contextmanager
    def _temporary_folder(self) -> Iterator[Path]:
        self._cache_folder.mkdir(parents=True, exist_ok=True)
        for abandoned in self._cache_folder.glob("writing-*"):
            if time.time() - abandoned.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(abandoned, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix="writing-", dir=self._cache_folder))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_file_list(file: Path, model: str, files: Sequence[Path]) -> None:
    """Write the list of a model's result and sample files (`--written`), which `fin board` reads.

    Args:
        file: the list, JSON with `model`, and `files` relative to the list's folder.
        model: `base`, or the adapter's name.
        files: sample files and result file, whether written now or before.

    Raises:
        FinError: the list cannot be written.
    """
    relative = [os.path.relpath(path.absolute(), file.absolute().parent) for path in files]
    write_output(file, json.dumps({"model": model, "files": relative}, indent=1, ensure_ascii=False) + "\n")


def _content_hash(value: Any) -> bytes:
    """A hash of what lm-eval writes, without the memory addresses in its descriptions of functions."""
    from lm_eval.utils import handle_non_serializable

    return sha256(_MEMORY_ADDRESS.sub("", json.dumps(value, default=handle_non_serializable)).encode()).digest()


def _read_file_sizes(file: Path) -> dict[str, int] | None:
    """Files of a list with their sizes in bytes, the result file last; None if the list is missing or invalid."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_newest(
    file: Path, tasks: Mapping[str, str], hashes_by_file: Callable[[], Mapping[Path, Mapping[str, str]]]
) -> bool:
    """Whether no newer result file in the folder has other results for the same model, task and conditions.

    `fin board` takes the newest results by date.

    Args:
        file: a result file.
        tasks: its `task_hashes`.
        hashes_by_file: returns the task hashes of other result files; a file not among them has other results.
    """
    newer_files = _newer_files(file)
    if not newer_files:
        return True
    results, known_hashes = _read_results(file), hashes_by_file()
    if results is None:
        return False
    conditions_by_task = {task: _conditions(results, task) for task in tasks}
    for newer in newer_files:
        newer_results = _read_results(newer)
        if newer_results is None or not _may_be_same_model(results, newer_results):
            continue
        for task, conditions in list(conditions_by_task.items()):
            if _conditions(newer_results, task) != conditions:
                continue
            if known_hashes.get(newer, {}).get(task) != tasks[task]:
                return False
            del conditions_by_task[task]
    return True


def _newer_files(file: Path) -> list[Path]:
    """Result files of the folder with a later date in their name, newest first."""
    dated = [(match[1], other) for other in file.parent.iterdir() if (match := _DATE_IN_NAME.search(other.name))]
    date = _DATE_IN_NAME.search(file.name)
    return [other for other_date, other in sorted(dated, reverse=True) if not date or other_date > date[1]]


def _read_results(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        return data if isinstance(data, dict) and isinstance(data["results"], dict) else None
    except (OSError, ValueError, KeyError, RecursionError):
        return None  # not a result file of lm-eval


def _conditions(results: Mapping[str, Any], task: str) -> tuple[Any, ...] | None:
    """Conditions that the task was run under; None if it was not run."""
    if task not in results["results"]:
        return None
    values = [section.get(task) for name in _CONDITION_SECTIONS if isinstance(section := results.get(name), dict)]
    return (*values, results.get("chat_template") is None)


def _may_be_same_model(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two result files may belong to one model, that is to the same folders; old files do not name them."""
    models = []
    for results in (first, second):
        config = results.get("config")
        arguments = config.get("model_args") if isinstance(config, dict) else None
        if not isinstance(arguments, dict):
            return True
        models.append((arguments.get("pretrained"), arguments.get("peft")))
    return models[0] == models[1]


@contextmanager
def _without_saving_messages() -> Iterator[None]:
    """Suppress lm-eval's messages about the temporary folder; its warnings still show."""
    logger = logging.getLogger("lm_eval.loggers.evaluation_tracker")

    def is_relevant(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Saving")

    logger.addFilter(is_relevant)
    try:
        yield
    finally:
        logger.removeFilter(is_relevant)
