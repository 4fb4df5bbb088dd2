"""One result file: what it says of the run, and of each of its tasks.

Groups are passed over (the board makes its own means): a task is what has an entry in `configs`. Read are results of
lm-eval 0.4.3 and later, tried with 0.4.12 and 0.4.13; what an older version does not write is noted, or left open.
"""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from fin_plugins.board.model import METRICS, RATES, Protocol
from fin_plugins.board.reading.conditions import prompt_hash
from fin_plugins.board.reading.files import RunFiles
from fin_plugins.board.reading.lists import DAY
from fin_plugins.board.reading.model_args import arguments, settings
from fin_plugins.board.reading.raw import Raw, Run
from fin_plugins.board.reading.values import Unusable, finite, mapping, texts, whole
from fin_plugins.common.foreign_files import get_in

EXPORT = "fin_board"
"""The key that marks the committed form; see `fin_plugins.board.export`."""

_PROTOCOLS: dict[str, Protocol] = {"multiple_choice": "choice", "loglikelihood": "choice", "generate_until": "gen"}
_TRIED = (0, 4, 12)
_LAST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


def run_of(data: dict[str, Any], files: RunFiles) -> Run:
    """What the file says of all its tasks.

    Raises:
        Unusable: it is no result file of lm-eval.
    """
    for name in ("results", "configs", "config"):
        mapping(data.get(name), f"`{name}`")
    exported = data.get(EXPORT)
    template = str(data.get("chat_template") or "")
    return Run(
        files=files,
        date=_date(data, files),
        harness=str(data.get("lm_eval_version") or ""),
        engine=str(get_in(data, "config", "model") or "unknown"),
        arguments=arguments(get_in(data, "config", "model_args")),
        settings=_strings(get_in(exported, "settings")) if exported else settings(data),
        chat=bool(get_in(exported, "chat")) if exported else data.get("chat_template") is not None,
        template=str(data.get("chat_template_sha") or ""),
        dated=bool(get_in(exported, "dated")) if exported else "strftime_now" in template,
        system=str(data.get("system_instruction_sha") or ""),
        names=_names(exported) if exported else None,
    )


def raw_of(data: dict[str, Any], run: Run, name: str) -> Raw:
    """One task of the file.

    Raises:
        Unusable: it has no documents, no figures, or is of a kind that has no right and wrong answers.
    """
    config = mapping(data["configs"].get(name), "its entry in `configs`")
    protocol = _protocol(config)
    n, total, limit = _documents(data, name)
    chosen, reported = _reported(mapping(data["results"].get(name), "its entry in `results`"), run)
    fin = get_in(config, "metadata", "fin")
    content = get_in(fin, "content_hash", str(config.get("test_split")))
    shots = whole(config.get("num_fewshot")) or whole(get_in(data, "n-shot", name)) or 0
    return Raw(
        run=run,
        name=name,
        task=name.removesuffix("_gen") if protocol == "gen" else name,
        protocol=protocol,
        seen=seen if isinstance(seen := get_in(fin, "seen"), bool) else None,
        data=_data(get_in(fin, "data"), reported),
        content=content if isinstance(content, str) else "",
        version=_version(get_in(data, "versions", name), get_in(config, "metadata", "version")),
        prompt=str(config.get("prompt")) if run.names else prompt_hash(config, data, shots),
        shots=shots,
        n=n,
        total=total,
        limit=limit,
        filter=chosen,
        reported=reported,
        labels=_labels(config.get("labels") if run.names else get_in(config, "dataset_kwargs", "labels")),
        task_hash=str(get_in(data, "task_hashes", name) or ""),
        rows=str(config.get("rows") or "") if run.names else "",
        prompts=str(config.get("prompts") or "") if run.names else "",
        recomputed=texts(config.get("recomputed")) or () if run.names else (),
        kept_notes=texts(config.get("notes")) or () if run.names else (),
        notes=_notes(run, n, total, limit),
    )


def _labels(listed: Any) -> tuple[str, ...]:
    """The labels as the model saw them; of a mapping, the words that stand for the values in the data."""
    if isinstance(listed, dict):
        return tuple(dict.fromkeys(texts(list(listed.values())) or ()))
    return texts(listed) or ()


def _protocol(config: dict[str, Any]) -> Protocol:
    kind = str(config.get("output_type"))
    if kind not in _PROTOCOLS:
        raise Unusable(f"its output_type is {kind[:40]}, which has no right and wrong answers")
    return _PROTOCOLS[kind]


def _documents(data: dict[str, Any], name: str) -> tuple[int | None, int | None, str | None]:
    """Number of documents that were scored, of all, and the first again as the limit where these were not all."""
    n = whole(get_in(data, "n-samples", name, "effective"))
    if n is None:
        n = whole(get_in(data, "results", name, "sample_len"))
    if n is not None and n <= 0:
        raise Unusable("it was run on 0 documents")
    total = whole(get_in(data, "n-samples", name, "original"))
    if n is None or total is None:
        limit = get_in(data, "config", "limit")
        return n, None, None if limit is None else str(limit)[:20]
    return n, total, str(n) if n < total else None


def _reported(entry: dict[str, Any], run: Run) -> tuple[str, dict[str, float]]:
    """The figures behind one filter: `none` where there is one, else the first.

    Raises:
        Unusable: a figure is out of its range, or not finite.
    """
    if broken := [str(key) for key, value in entry.items() if _is_broken(str(key), value)]:
        said = f"figures that are not finite ({', '.join(broken)[:80]}), as of weights or scores that are no numbers"
        raise Unusable(f"{said}: score the model again", is_error=True)
    by_filter: dict[str, dict[str, float]] = {}
    for key, value in entry.items():
        metric, comma, chosen = str(key).partition(",")
        number = finite(value)
        if comma and number is not None and not metric.endswith("_stderr"):
            by_filter.setdefault(chosen, {})[metric] = number
    chosen = "none" if "none" in by_filter else next(iter(by_filter), "none")
    figures = by_filter.get(chosen, {})
    for metric in (*METRICS, *RATES):
        if not (-1.0 if metric == "mcc" else 0.0) <= figures.get(metric, 0.0) <= 1.0:
            raise Unusable(f"its {metric} is {figures[metric]:g}, which no {metric} can be")
    return chosen, figures


def _is_broken(key: str, value: Any) -> bool:
    """Whether it is a figure that is nan or infinite; lm-eval writes numbers that it does not know as texts."""
    if "," not in key or "_stderr" in key or isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return not math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _data(said: Any, reported: dict[str, float]) -> Literal["real", "sample", "unknown"]:
    if said == "sample" or reported.get("sample_rows"):
        return "sample"
    return "real" if said == "real" else "unknown"


def _version(*said: Any) -> str:
    return next((str(one)[:40] for one in said if one not in (None, "")), "none")


def _notes(run: Run, n: int | None, total: int | None, limit: str | None) -> tuple[str, ...]:
    notes = []
    if limit is not None:
        scored = f"{n} of {total} documents were" if total else f"a part of the documents (--limit {limit}) was"
        notes.append(f"Only {scored} scored.")
    if _number(run.harness) < _TRIED:
        notes.append(f"Written by lm-eval {run.harness or 'of unknown version'}: read as far as it goes.")
    return tuple(notes)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part[:9]) for part in re.findall(r"[0-9]+", version)[:3])


def _date(data: dict[str, Any], files: RunFiles) -> float:
    """The start of the run, or what the file's name says, or when the file was written; of a listed run the day."""
    time = _time(data, files)
    return time - time % DAY if files.listed else time


def _time(data: dict[str, Any], files: RunFiles) -> float:
    said = finite(data.get("date"))
    if said is not None and 0 <= said < _LAST:
        return said
    try:
        day, _, time = files.stamp.partition("T")
        return datetime.fromisoformat(f"{day}T{time.replace('-', ':')}").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return _written(files.result)


def _written(file: Path) -> float:
    try:
        time = file.stat().st_mtime
    except OSError:
        return 0.0
    return time if 0 <= time < _LAST else 0.0


def impossible_date(data: dict[str, Any]) -> list[str]:
    """What to say of a date that no run can have; empty where there is nothing to say."""
    said = data.get("date")
    if said is None or ((time := finite(said)) is not None and 0 <= time < _LAST):
        return []
    return [f"its date, {str(said)[:40]}, is none: the time in its name, or of the file, stands instead"]


def _names(exported: Any) -> tuple[str, str | None]:
    model, base = get_in(exported, "model"), get_in(exported, "base")
    if not isinstance(model, str) or not isinstance(base, str | None):
        raise Unusable(f"`{EXPORT}` names no model")
    return model, base


def _strings(value: Any) -> dict[str, str]:
    return {str(name): str(below) for name, below in value.items()} if isinstance(value, dict) else {}
