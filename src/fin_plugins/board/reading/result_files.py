"""Parsing a result file: the run, and the result of each task.

Groups are skipped, since the board computes its own means: a task is what has an entry in `configs`. Results of lm-eval
0.4.3 and later are read, tested with 0.4.12 and 0.4.13; what older versions omit is noted or stays unknown.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from fin_plugins.board.board_data import METRICS, RATES, Documents, Protocol
from fin_plugins.board.reading.answers_parquet import EXPORT_KEY
from fin_plugins.board.reading.json_utils import (
    UnusableFile,
    as_float,
    as_int,
    as_strings,
    hash_json,
    require_object,
    without_empty,
)
from fin_plugins.board.reading.model_names import (
    ModelIdentity,
    ModelNames,
    identify_model,
    parse_model_args,
    run_settings,
)
from fin_plugins.board.reading.run_files import RunFiles
from fin_plugins.common.foreign_files import get_in

_PROTOCOLS: dict[str, Protocol] = {"multiple_choice": "choice", "loglikelihood": "choice", "generate_until": "gen"}
_OLDEST_TESTED = (0, 4, 12)
_DAY = 24 * 3600
_LATEST_DATE = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
# Model classes whose result files report the model's actual dtype.
_DTYPE_REPORTING = ("hf", "fin_hf", "hf-auto", "huggingface")
# What shapes the prompt for every model. The prompts themselves contain each model's chat template.
_PROMPT_KEYS = (
    *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix", "target_delimiter"),
    *("generation_kwargs", "filter_list", "output_type"),
)
_FEWSHOT_KEYS = ("fewshot_config", "fewshot_delimiter", "fewshot_split")


@dataclass(frozen=True)
class Run:
    """What a result file says about all its tasks.

    Attributes:
        files: the run's files.
        date: start of the run, in seconds since 1970.
        harness: version of lm-eval; empty if unknown.
        engine: lm-eval's model class.
        model_args: model arguments.
        model: the model, according to its arguments.
        settings: dtype, library versions and the like; no paths.
        chat: whether a chat template was applied.
        template: hash of the chat template; empty if unknown.
        template_has_date: whether the template writes the current day into the prompt.
        exported_names: display names of model and base, in the exported form only.
    """

    files: RunFiles
    date: float
    harness: str
    engine: str
    model_args: Mapping[str, Any]
    model: ModelIdentity
    settings: dict[str, str]
    chat: bool
    template: str
    template_has_date: bool
    exported_names: ModelNames | None


@dataclass(frozen=True)
class TaskResult:
    """One task of a run. `load_runs` adds what the samples say.

    Attributes:
        run: the run.
        name: lm-eval's task name.
        task: the name without `_gen`.
        protocol: `choice` or `gen`.
        seen: as the task says.
        data: `real`, `sample` or `unknown`.
        content_hash: hash of the test split; empty if unknown.
        version: task version.
        prompt: hash of what shapes the prompt.
        shots: number of few-shot examples.
        n: documents scored; None if unknown.
        total: documents in the test split; None if unknown.
        limit: number of documents if only a part was scored.
        filter: lm-eval's filter that the figures passed.
        reported: figures by metric.
        labels: label set; empty if unknown.
        task_hash: lm-eval's hash of the sample file; empty if unknown.
        rows: hash of documents and label set; empty if unknown.
        prompts: hash of all prompts; empty if unknown.
        recomputed: metrics that must follow from the answers.
        notes: remarks on the result file, for the reader.
        sample_notes: remarks on the samples, for the reader; an export keeps these.
        documents: outcomes from the samples; None without.
    """

    run: Run
    name: str
    task: str
    protocol: Protocol
    seen: bool | None
    data: str
    content_hash: str
    version: str
    prompt: str
    shots: int
    n: int | None
    total: int | None
    limit: str | None
    filter: str
    reported: dict[str, float]
    labels: tuple[str, ...]
    task_hash: str = ""
    rows: str = ""
    prompts: str = ""
    recomputed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sample_notes: tuple[str, ...] = ()
    documents: Documents | None = None


def parse_run(data: dict[str, Any], files: RunFiles) -> Run:
    """Parse what a result file says about all its tasks.

    Raises:
        UnusableFile: it is not a result file of lm-eval.
    """
    for name in ("results", "configs", "config"):
        require_object(data.get(name), f"`{name}`")
    exported = data.get(EXPORT_KEY) if files.exported else None
    template = str(data.get("chat_template") or "")
    engine = str(get_in(data, "config", "model") or "unknown")
    model_args = parse_model_args(get_in(data, "config", "model_args"))
    settings = _exported_settings(exported) if files.exported else run_settings(data)
    dtype = settings.get("dtype", "") if engine in _DTYPE_REPORTING else ""
    return Run(
        files=files,
        date=_run_date(data, files),
        harness=str(data.get("lm_eval_version") or ""),
        engine=engine,
        model_args=model_args,
        model=identify_model(engine, model_args, dtype),
        settings=settings,
        chat=bool(get_in(exported, "chat")) if files.exported else data.get("chat_template") is not None,
        template=str(data.get("chat_template_sha") or ""),
        template_has_date=bool(get_in(exported, "dated")) if files.exported else "strftime_now" in template,
        exported_names=_exported_names(exported) if files.exported else None,
    )


def parse_task(data: dict[str, Any], run: Run, name: str) -> TaskResult:
    """Parse the result of one task.

    Raises:
        UnusableFile: it has no documents or figures, or its output type has no right and wrong answers.
    """
    config = require_object(data["configs"].get(name), "its entry in `configs`")
    protocol = _protocol(config)
    n, total, limit = _document_counts(data, name)
    filter_name, reported = _reported_figures(require_object(data["results"].get(name), "its entry in `results`"))
    fin = get_in(config, "metadata", "fin")
    content_hash = get_in(fin, "content_hash", str(config.get("test_split")))
    shots = as_int(config.get("num_fewshot")) or as_int(get_in(data, "n-shot", name)) or 0
    exported = config if run.exported_names else {}
    seen = get_in(fin, "seen")
    return TaskResult(
        run=run,
        name=name,
        task=name.removesuffix("_gen") if protocol == "gen" else name,
        protocol=protocol,
        seen=seen if isinstance(seen, bool) else None,
        data=_data_kind(get_in(fin, "data"), reported),
        content_hash=content_hash if isinstance(content_hash, str) else "",
        version=_first_version(get_in(data, "versions", name), get_in(config, "metadata", "version")),
        prompt=str(config.get("prompt")) if run.exported_names else _prompt_hash(config, data, shots),
        shots=shots,
        n=n,
        total=total,
        limit=limit,
        filter=filter_name,
        reported=reported,
        labels=_labels(exported.get("labels") if run.exported_names else get_in(config, "dataset_kwargs", "labels")),
        task_hash=str(get_in(data, "task_hashes", name) or ""),
        rows=str(exported.get("rows") or ""),
        prompts=str(exported.get("prompts") or ""),
        recomputed=as_strings(exported.get("recomputed")) or (),
        notes=_notes(run, n, total, limit),
        sample_notes=as_strings(exported.get("notes")) or (),
    )


def date_problems(data: dict[str, Any]) -> list[str]:
    """A message if the date in a result file is impossible."""
    date = data.get("date")
    if date is None or _valid_date(date) is not None:
        return []
    return [f"its date, {str(date)[:40]}, is impossible: the time in the file name or of the file is used instead"]


def _prompt_hash(config: Mapping[str, Any], data: Mapping[str, Any], shots: int) -> str:
    """Hash of everything that shapes the prompt, except the document and the model's chat template."""
    parts = {name: config.get(name) for name in _PROMPT_KEYS}
    parts["system"] = data.get("system_instruction_sha")
    prompt = hash_json(without_empty(parts))
    if not shots:
        return prompt
    fewshot = {name: config.get(name) for name in _FEWSHOT_KEYS}
    fewshot["seed"] = get_in(data, "config", "fewshot_seed")
    # Turns only exist with a chat template.
    fewshot["turns"] = data.get("fewshot_as_multiturn") if data.get("chat_template") is not None else None
    return f"{prompt}.{hash_json(without_empty(fewshot))[:8]}"


def _labels(configured: Any) -> tuple[str, ...]:
    """The labels that the model saw: of a mapping from data values to words, the words."""
    if isinstance(configured, dict):
        return tuple(dict.fromkeys(as_strings(list(configured.values())) or ()))
    return as_strings(configured) or ()


def _protocol(config: dict[str, Any]) -> Protocol:
    output_type = str(config.get("output_type"))
    if output_type not in _PROTOCOLS:
        raise UnusableFile(f"its output_type is {output_type[:40]}, which has no right and wrong answers")
    return _PROTOCOLS[output_type]


def _document_counts(data: dict[str, Any], name: str) -> tuple[int | None, int | None, str | None]:
    """Documents scored and in total, and the limit if they differ."""
    n = as_int(get_in(data, "n-samples", name, "effective"))
    if n is None:
        n = as_int(get_in(data, "results", name, "sample_len"))
    if n is not None and n <= 0:
        raise UnusableFile("it was run on 0 documents")
    total = as_int(get_in(data, "n-samples", name, "original"))
    if n is None or total is None:
        limit = get_in(data, "config", "limit")
        return n, None, None if limit is None else str(limit)[:20]
    return n, total, str(n) if n < total else None


def _reported_figures(result: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """The figures of one filter: `none` if it exists, else the first.

    Raises:
        UnusableFile: a figure is out of range or not finite.
    """
    if broken := [str(key) for key, value in result.items() if _is_not_finite(str(key), value)]:
        names = ", ".join(broken)[:80]
        message = f"figures are not finite ({names}), perhaps because weights or scores are nan: evaluate again"
        raise UnusableFile(message, is_error=True)
    by_filter: dict[str, dict[str, float]] = {}
    for key, value in result.items():
        metric, comma, filter_name = str(key).partition(",")
        figure = as_float(value)
        if comma and figure is not None and not metric.endswith("_stderr"):
            by_filter.setdefault(filter_name, {})[metric] = figure
    filter_name = "none" if "none" in by_filter else next(iter(by_filter), "none")
    figures = by_filter.get(filter_name, {})
    for metric in (*METRICS, *RATES):
        low = -1.0 if metric == "mcc" else 0.0
        if not low <= figures.get(metric, low) <= 1.0:
            raise UnusableFile(f"its {metric} is {figures[metric]:g}, outside {low:g} to 1")
    return filter_name, figures


def _is_not_finite(key: str, value: Any) -> bool:
    """Whether a figure is nan or infinite, also as a string, which lm-eval writes for numbers it does not know."""
    if "," not in key or "_stderr" in key or isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return not math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _data_kind(stated: Any, reported: dict[str, float]) -> Literal["real", "sample", "unknown"]:
    if stated == "sample" or reported.get("sample_rows"):
        return "sample"
    return "real" if stated == "real" else "unknown"


def _first_version(*candidates: Any) -> str:
    return next((str(version)[:40] for version in candidates if version not in (None, "")), "none")


def _notes(run: Run, n: int | None, total: int | None, limit: str | None) -> tuple[str, ...]:
    notes = []
    if limit is not None:
        scored = f"{n} of {total} documents were" if total else f"a part of the documents (--limit {limit}) was"
        notes.append(f"Only {scored} scored.")
    version = tuple(int(part[:9]) for part in re.findall(r"[0-9]+", run.harness)[:3])
    if version < _OLDEST_TESTED:
        notes.append(f"Written by lm-eval {run.harness or 'of unknown version'}: read as far as it goes.")
    return tuple(notes)


def _run_date(data: dict[str, Any], files: RunFiles) -> float:
    """Start of the run; of a run in a manifest, only the day."""
    date = _valid_date(data.get("date"))
    if date is None:
        date = _date_of_files(files)
    return date - date % _DAY if files.in_manifest else date


def _valid_date(value: Any) -> float | None:
    date = as_float(value)
    return date if date is not None and 0 <= date < _LATEST_DATE else None


def _date_of_files(files: RunFiles) -> float:
    """The time stamp in the file name, else the time of the last change, else 0."""
    try:
        day, _, time = files.stamp.partition("T")
        return datetime.fromisoformat(f"{day}T{time.replace('-', ':')}").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return _valid_date(_last_change(files.result)) or 0.0


def _last_change(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _exported_names(exported: Any) -> ModelNames:
    model, base = get_in(exported, "model"), get_in(exported, "base")
    if not isinstance(model, str) or not isinstance(base, str | None):
        raise UnusableFile(f"`{EXPORT_KEY}` names no model")
    return model, base


def _exported_settings(exported: Any) -> dict[str, str]:
    settings = get_in(exported, "settings")
    return {str(name): str(value) for name, value in settings.items()} if isinstance(settings, dict) else {}
