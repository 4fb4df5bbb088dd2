"""Exporting results in a form that may be committed: figures, hashes and labels, but no text of documents or machine.

One Parquet file holds every run on the board (older ones are not): hash, gold label and answer of each document, as
`fin_plugins.board.reading.answers_parquet` describes, and in its metadata by run a part of lm-eval's result file under
lm-eval's own names: `results` (figures by task, as `metric,filter`), `configs` (by task: `output_type`, `num_fewshot`,
`metadata.version`, and of `metadata.fin` only `seen`, `data` and the test split's `content_hash`), `versions`,
`n-samples`, `config` (`model` is lm-eval's model class), `date`, `lm_eval_version` and `chat_template_sha`.
`configs` also has `labels` (the label set), `prompt` (hash of the prompt's configuration), `rows` and `prompts` (hashes
of all documents and prompts), `recomputed` (figures that must follow from the answers) and `notes`. `fin_board` has
`model` and `base` (display names), `chat` (whether a chat template was applied), `dated` (whether that template writes
the date into the prompt) and `settings` (dtype, versions).

`load_runs` reads this file like lm-eval's own, and gets the same entries.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from fin_plugins.board.export_guard import PrivateText, check_exportable, home_name
from fin_plugins.board.reading.answers_parquet import (
    ANSWERS_FILE,
    EXPORT_KEY,
    AnswerRows,
    ExportedRun,
    encode_answers,
    format_export,
)
from fin_plugins.board.reading.column_assignment import PlacedResult
from fin_plugins.board.reading.json_utils import without_empty
from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.board.reading.result_files import TaskResult
from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError

log = logging.getLogger(__name__)

_OUTPUT_TYPES = {"choice": "multiple_choice", "gen": "generate_until"}


def export_file(out: Path) -> Path:
    """The file to write: `out` if it ends in `.parquet`, else `answers.parquet` in the folder `out`."""
    return out if out.suffix == ".parquet" else out / ANSWERS_FILE


def export_results(paths: Sequence[Path], out: Path, names: Mapping[str, str]) -> Path:
    """Export the results on the board of these files.

    All content is made and checked before the file is written. What the board leaves out is not exported, with a
    warning.

    Args:
        paths: folders or result files, as for `load_runs`.
        out: see `export_file`.
        names: display names, as for `load_runs`.

    Returns:
        The file written.

    Raises:
        FinError: there are no results; figures contradict each other; the file would contain document text, a path of
            this machine or the name of the home folder; two runs would have the same name; or the file cannot be
            written.
    """
    runs = load_runs(paths, names=names, with_documents=True)
    for problem in runs.problems:
        if problem.is_error:
            raise FinError(f"{problem.file}: {problem.message}; nothing was exported")
        log.warning("%s: %s", problem.file, problem.message)
    by_run: dict[tuple[Path, str], list[PlacedResult]] = {}
    for placed in runs.placed:
        files = placed.result.run.files
        by_run.setdefault((files.result, files.display_name), []).append(placed)
    exported: dict[str, ExportedRun] = {}
    for run in by_run.values():
        folder, stamp = file_name_part(run[0].entry.model), _stamp(run[0].result)
        name = f"{folder}/results_{stamp}.json"
        if name in exported:
            raise FinError(f"{run[0].entry.source.file}: the same run is given twice; remove one of the two")
        exported[name] = _export_run(run, folder)
    if not exported:
        raise FinError(f"{', '.join(map(str, paths))}: no results to export")
    file = export_file(out)
    remove_unfinished_files(file.parent)
    try:
        write_file(file, format_export(exported))
    except OSError as error:
        raise FinError(f"{file}: cannot be written ({error.strerror}); choose another folder") from error
    return file


def file_name_part(name: str) -> str:
    """A name as part of a file name; if characters are replaced, a hash keeps different names apart."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return safe if safe == name else f"{safe}-{sha256(name.encode()).hexdigest()[:8]}"


def _export_run(run: Sequence[PlacedResult], folder: str) -> ExportedRun:
    answers: dict[str, AnswerRows] = {}
    private_texts: set[str] = set()
    for placed in run:
        if (documents := placed.entry.documents) is not None:
            answers[placed.result.name] = encode_answers(documents, placed.entry.labels)
            private_texts.update(text.strip() for text in (*(documents.texts or ()), *(documents.replies or ())))
    result = _result_content(run)
    private = PrivateText(frozenset(private_texts - {""}), home_name())
    # Task names and labels may equal a document or the home folder's name by chance.
    words = [*(label for placed in run for label in placed.entry.labels), *result["results"]]
    check_exportable([folder, result], private, words, run[0].entry.source.file)
    return ExportedRun(result, answers)


def _result_content(placed: Sequence[PlacedResult]) -> dict[str, Any]:
    entry, run = placed[0].entry, placed[0].result.run
    results = [result.result for result in placed]
    return {
        EXPORT_KEY: {
            "model": entry.model,
            "base": entry.base,
            "chat": run.chat,
            "dated": run.template_has_date,
            "settings": run.settings,
        },
        "results": {
            result.name: {f"{metric},{result.filter}": value for metric, value in result.reported.items()}
            for result in results
        },
        "configs": {result.name: _config(result) for result in results},
        "versions": {result.name: result.version for result in results},
        "n-samples": {
            result.name: without_empty({"original": result.total, "effective": result.n or 0}) for result in results
        },
        "config": without_empty({"model": run.engine, "limit": _limit(results)}),
        "date": run.date,
        "lm_eval_version": run.harness,
        "chat_template_sha": run.template or None,
    }


def _limit(results: Sequence[TaskResult]) -> str | None:
    """The limit, if the numbers of documents do not show it."""
    return next((result.limit for result in results if result.limit and result.total is None), None)


def _config(result: TaskResult) -> dict[str, Any]:
    content_hash = {"test": result.content_hash} if result.content_hash else None
    data = None if result.data == "unknown" else result.data
    fin = without_empty({"seen": result.seen, "data": data, "content_hash": content_hash})
    return without_empty(
        {
            "output_type": _OUTPUT_TYPES[result.protocol],
            "test_split": "test",
            "num_fewshot": result.shots,
            "metadata": {"version": result.version, "fin": fin},
            "labels": list(result.labels),
            "prompt": result.prompt,
            "rows": result.rows,
            "prompts": result.prompts,
            "recomputed": list(result.recomputed),
            "notes": list(result.sample_notes),
        }
    )


def _stamp(result: TaskResult) -> str:
    run = result.run
    try:
        return run.files.stamp or datetime.fromtimestamp(run.date, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    except (ValueError, OverflowError, OSError) as error:
        raise FinError(f"{run.files.display_name}: its date, {run.date:g}, is impossible") from error
