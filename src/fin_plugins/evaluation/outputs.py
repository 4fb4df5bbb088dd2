"""Result and sample files: written by lm-eval's own tracker, put in place whole, and not written twice."""

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.newest import content_hash, is_newest
from fin_plugins.evaluation.store import FOLDER, cannot_write, write

# What of lm-eval's results is said anew in every run: dates, the machine's description, tokens of the tokenizer.
_TOLD = (
    "results",
    "groups",
    "group_subtasks",
    "configs",
    "versions",
    "n-shot",
    "higher_is_better",
    "n-samples",
    "config",
)
_STALE = 24 * 3600  # seconds after which a killed run's unfinished files are taken away


def fingerprint(results: Mapping[str, Any], tasks: Mapping[str, str]) -> str:
    """A hash of all that two runs with equal answers write alike.

    Args:
        results: lm-eval's results.
        tasks: of `task_hashes`, in which the samples and the model are.
    """
    told = {name: results[name] for name in _TOLD if name in results}
    return sha256(content_hash(told) + content_hash(sorted(tasks.items()))).hexdigest()


class Outputs:
    """The result files below `--output_path`, which lm-eval takes as a folder, or as a file where it ends in .json."""

    def __init__(self, output_path: str) -> None:
        self._given = Path(output_path)
        self.root = self._given.parent if self._given.suffix == ".json" else self._given
        self._own = self.root / FOLDER

    def written(self, mark: str, tasks: Mapping[str, str]) -> list[Path] | None:
        """The files of results with this fingerprint, where an earlier run wrote them and they are still the newest.

        Where other results of the model were written since, these are to be written again, with today's date: the
        newest evaluation stands. What a run that was killed in the middle of this has left is taken away.

        Args:
            mark: of `fingerprint`.
            tasks: of `task_hashes`.
        """
        sizes = self._sizes(self._list(mark))
        if not sizes:
            return None
        files = [self.root / name for name in sizes]
        if all(file.is_file() and file.stat().st_size == sizes[name] for file, name in zip(files, sizes, strict=True)):
            return files if is_newest(files[-1], tasks, self._task_hashes) else None
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
        """Have lm-eval write the files, then put them in place: the result file last, so that it never stands alone.

        Returns:
            The files, the result file last.

        Raises:
            FinError: they could not be written; lm-eval itself only warns of that.
        """
        try:
            with self._scratch() as scratch, _quiet():
                tracker.output_path = str(scratch / self._given.name if self.root != self._given else scratch)
                tracker.save_results_aggregated(results=results, samples=samples)
                for task in results["configs"] if samples is not None else ():
                    tracker.save_results_samples(task_name=task, samples=samples[task] if samples else {})
                made = sorted(scratch.rglob("*.json*"), key=lambda file: (file.suffix == ".json", file.name))
                expected = 1 + (len(results["configs"]) if samples is not None else 0)
                if len(made) != expected or made[-1].suffix != ".json":
                    raise FinError(
                        f"{self.root}: lm-eval wrote {len(made)} of {expected} result and sample files, and said "
                        "why above; the answers are kept, the same command writes the files again"
                    )
                return self._put_in_place(mark, tasks, scratch, made)
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def _put_in_place(self, mark: str, tasks: Mapping[str, str], scratch: Path, made: list[Path]) -> list[Path]:
        names = {str(file.relative_to(scratch)): file.stat().st_size for file in made}
        write(self._list(mark), json.dumps({"files": list(names.items()), "tasks": dict(tasks)}, indent=1))
        placed = [self.root / name for name in names]
        for file, target in zip(made, placed, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        return placed

    def _task_hashes(self) -> dict[Path, dict[str, str]]:
        """What this folder's lists say of each result file that `fin eval` wrote."""
        found = {}
        for file in (self._own / "written").glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
                told = json.loads(file.read_text(encoding="utf-8"))
                found[self.root / told["files"][-1][0]] = dict(told["tasks"])
        return found

    @staticmethod
    def _sizes(file: Path) -> dict[str, int] | None:
        """The files that a list names, with their sizes in bytes, the result file last; None where it is no list."""
        try:
            return dict(json.loads(file.read_text(encoding="utf-8"))["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _list(self, mark: str) -> Path:
        return self._own / "written" / f"{mark}.json"

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        self._own.mkdir(parents=True, exist_ok=True)
        for left in self._own.glob("writing-*"):
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix="writing-", dir=self._own))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def write_list(file: Path, model: str, files: Sequence[Path]) -> None:
    """Write down which files hold a model's results, `--written`; `fin board` reads such a list.

    Args:
        file: the list, JSON: `model`, and `files` relative to the list's own folder.
        model: `base`, or the adapter's name.
        files: the sample files and the result file, written now or before.

    Raises:
        FinError: it cannot be written.
    """
    named = [os.path.relpath(one.absolute(), file.absolute().parent) for one in files]
    write(file, json.dumps({"model": model, "files": named}, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval from naming the folder its files lie in for a moment only; what goes wrong is still said."""
    logger = logging.getLogger("lm_eval.loggers.evaluation_tracker")

    def no_folder(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Saving")

    logger.addFilter(no_folder)
    try:
        yield
    finally:
        logger.removeFilter(no_folder)
