"""The form of results that may be committed: figures, hashes and labels, and nothing that a document or machine says.

For every run that stands on the board (older ones do not) a folder named like the model, with

- `results_<stamp>.json`: a part of lm-eval's result file, under lm-eval's own names: `results` (figures by task, as
  `metric,filter`), `configs` (by task: `output_type`, `num_fewshot`, `metadata.version`, and of `metadata.fin` only
  `seen`, `data` and the test split's `content_hash`), `versions`, `n-samples`, `config` (`model` is lm-eval's model
  class), `date`, `lm_eval_version` and `chat_template_sha`.
  Added in `configs`: `labels` (the label set), `prompt` (hash over what the task's configuration makes the prompt of),
  `rows` and `prompts` (hashes over all documents and prompts), `recomputed` (figures that must follow from the
  answers) and `notes`.
  Added as `fin_board`: `format`, `model` and `base` (names to show), `chat` (whether a chat template was applied),
  `dated` (whether that template writes the day into the prompt) and `settings` (dtype, versions).
- `answers_<task>_<stamp>.csv`: per document its hash, gold label and answer; see `fin_plugins.board.reading.answers`.

`read_results` reads it as it reads lm-eval's own files, and comes to the same entries.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fin_plugins.board.leaks import Secrets, check_clean, home_name
from fin_plugins.board.reading.answers import answers_text, file_part
from fin_plugins.board.reading.columns import Placed
from fin_plugins.board.reading.raw import Record
from fin_plugins.board.reading.read import Gathered, gather
from fin_plugins.board.reading.results import EXPORT
from fin_plugins.board.reading.values import without_empty
from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError

log = logging.getLogger(__name__)

_KINDS = {"choice": "multiple_choice", "gen": "generate_until"}
Contents = dict[Path, str]


def export(paths: Sequence[Path], out: Path, names: Mapping[str, str]) -> list[Path]:
    """Write the committed form of what stands on the board of these results.

    Everything is made and looked through before the first file is written; each file appears whole, the result file of
    a run after its answers. What was left out of the board is left out here too, with a warning.

    Args:
        paths: folders or result files, as for `read_results`.
        out: folder to write to.
        names: names to show, as for `read_results`.

    Returns:
        The files.

    Raises:
        FinError: figures contradict each other; a file would contain a document's text, a path of this machine or the
            name of the home folder; two runs would be one file; or the folder cannot be written.
    """
    gathered = gather(paths, names, with_documents=True)
    for problem in gathered.problems:
        if problem.is_error:
            raise FinError(f"{problem.file}: {problem.message}; nothing was exported")
        log.warning("%s: %s", problem.file, problem.message)
    contents: Contents = {}
    for placed in _runs(gathered).values():
        made = _files_of(placed, out)
        if not contents.keys().isdisjoint(made):
            raise FinError(f"{placed[0].entry.source.file}: the same run is there twice: take one of the two away")
        contents |= made
    for folder in {file.parent for file in contents}:
        remove_unfinished_files(folder)
    return [_write(file, text) for file, text in contents.items()]


def _runs(gathered: Gathered) -> dict[Path, list[Placed]]:
    """What stands on the board, by result file."""
    runs: dict[Path, list[Placed]] = {}
    for _, column in gathered.columns:
        for placed in column:
            runs.setdefault(placed.record.raw.run.files.result, []).append(placed)
    return runs


def _files_of(placed: Sequence[Placed], out: Path) -> Contents:
    """The files of a run, the result file last."""
    stamp = _stamp(placed[0])
    folder = out / file_part(placed[0].entry.model)
    contents = {
        folder / f"answers_{file_part(one.record.raw.name)}_{stamp}.csv": answers_text(documents, one.entry.labels)
        for one in placed
        if (documents := one.entry.documents) is not None
    }
    result, file = _result(placed), folder / f"results_{stamp}.json"
    labels = [label for one in placed for label in one.entry.labels]
    secrets = Secrets(_documents(placed), home_name())
    # Tasks and labels are other people's words: they may be those of a document, or a home folder's, by chance.
    check_clean(result, secrets, [*labels, *result["results"]], placed[0].entry.source.file)
    return {**contents, file: json.dumps(result, indent=1) + "\n"}


def _documents(placed: Sequence[Placed]) -> frozenset[str]:
    found: set[str] = set()
    for one in placed:
        if one.entry.documents:
            found.update(one.entry.documents.texts or ())
            found.update(one.entry.documents.replies or ())
    return frozenset(text.strip() for text in found) - {""}


def _result(placed: Sequence[Placed]) -> dict[str, Any]:
    entry, run = placed[0].entry, placed[0].record.raw.run
    shown = {"model": entry.model, "base": entry.base, "chat": run.chat, "dated": run.dated, "settings": run.settings}
    records = [one.record for one in placed]
    return {
        EXPORT: {"format": 1, **shown},
        "results": {one.raw.name: _figures(one) for one in records},
        "configs": {one.raw.name: _config(one) for one in records},
        "versions": {one.raw.name: one.raw.version for one in records},
        "n-samples": {one.raw.name: without_empty({"original": one.raw.total, "effective": one.n}) for one in records},
        "config": without_empty({"model": run.engine, "limit": _limit(records)}),
        "date": run.date,
        "lm_eval_version": run.harness,
        "chat_template_sha": run.template or None,
    }


def _figures(record: Record) -> dict[str, float]:
    return {f"{metric},{record.raw.filter}": value for metric, value in record.raw.reported.items()}


def _limit(records: Sequence[Record]) -> str | None:
    """The limit, where the numbers of documents do not show it."""
    return next((one.raw.limit for one in records if one.raw.limit and one.raw.total is None), None)


def _config(record: Record) -> dict[str, Any]:
    raw, answered = record.raw, record.answered
    fin = {"seen": raw.seen, "data": None if raw.data == "unknown" else raw.data}
    content = {"test": raw.content} if raw.content else None
    return without_empty(
        {
            "output_type": _KINDS[raw.protocol],
            "test_split": "test",
            "num_fewshot": raw.shots,
            "metadata": {"version": raw.version, "fin": without_empty({**fin, "content_hash": content})},
            "labels": list(record.labels),
            "prompt": raw.prompt,
            "rows": record.rows,
            "prompts": record.prompts,
            "recomputed": list(answered.recomputed) if answered else None,
            "notes": list(record.notes_on_samples),
        }
    )


def _stamp(placed: Placed) -> str:
    run = placed.record.raw.run
    try:
        return run.files.stamp or datetime.fromtimestamp(run.date, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    except (ValueError, OverflowError, OSError) as error:
        raise FinError(f"{run.files.shown}: its date, {run.date:g}, is none") from error


def _write(file: Path, text: str) -> Path:
    try:
        write_file(file, text)
    except OSError as error:
        raise FinError(f"{file}: cannot be written ({error.strerror}): choose another folder") from error
    return file
