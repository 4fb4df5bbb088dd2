"""From a request and its rows to a task that can be written, with a summary of it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.authoring.data_notes import PlannedData, data_notes
from fin_plugins.authoring.labelled_data import DataSource, concat_splits, count_labels, get_column
from fin_plugins.authoring.task_files import TaskDraft, prompt_template
from fin_plugins.authoring.task_request import NOT_STATED, TaskRequest
from fin_plugins.common.errors import FinError
from fin_plugins.common.validation import did_you_mean, validate
from fin_plugins.tasks.task_config import CUSTOM_DATASET_PLACEHOLDERS, CustomDatasetConfig

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TaskPlan:
    """A task that can be written.

    Attributes:
        draft: the task.
        rows: rows in the data.
        labels: rows by label, as the model sees it.
        splits: rows by split.
        notes: remarks for the user.
    """

    draft: TaskDraft
    rows: int
    labels: dict[str, int]
    splits: dict[str, int]
    notes: tuple[str, ...]


def plan_task(request: TaskRequest, source: DataSource) -> TaskPlan:
    """Plan a task.

    Raises:
        FinError: the request does not fit the rows.
    """
    from fin_plugins.tasks.custom_rows import make_splits

    table = concat_splits(source.frames)
    texts, labels = get_column(table, request.text, "--text"), get_column(table, request.label, "--label")
    frame = _drop_labels(texts, labels, request)
    counts = _select_labels(count_labels(frame["label"], request.label), request)
    words = _words(counts, request)
    config, keys = _dataset_config(request, source, words)
    _require_parseable(config.words, words)
    balanced_seed = _balanced_seed(frame, words, request.shares)
    try:
        splits = make_splits(config, source.frames, source.description)
    except FinError as error:
        hint = f" (--split-seed {balanced_seed} leaves none empty)" if balanced_seed else ""
        raise FinError(f"{error}{hint}") from error
    word_counts = dict.fromkeys(words.values(), 0)
    for value, count in counts.items():
        word_counts[words[value]] += count
    order = tuple(split for split in ("train", "validation", "test") if split in splits.frames)
    size = f"{len(frame):,} rows, {len(word_counts)} labels"
    no_licence = request.card.licence == NOT_STATED
    notes = data_notes(PlannedData(frame, config, words, word_counts, splits, no_licence, balanced_seed))
    return TaskPlan(
        draft=TaskDraft(
            name=request.name,
            config=config,
            keys=keys,
            splits=order,
            template=prompt_template(request.instruction, config.words, request.text),
            description=f"{request.label.capitalize()} of {source.description}: {size}. Made by `fin task new`.",
            card=request.card,
        ),
        rows=len(table),
        labels=word_counts,
        splits={split: len(splits.frames[split]) for split in order},
        notes=tuple(notes),
    )


def plan_to_dict(plan: TaskPlan, files: Sequence[Path]) -> dict[str, Any]:
    """The summary for other programs.

    Args:
        plan: the task.
        files: the task's file and that of its generative variant.
    """
    return {
        "task": plan.draft.name,
        "files": [str(file) for file in files],
        "text": plan.draft.config.columns.text,
        "label": plan.draft.config.columns.label,
        "rows": plan.rows,
        "labels": plan.labels,
        "splits": plan.splits,
        "notes": list(plan.notes),
        "next": _next_commands(files),
    }


def format_new_task(plan: TaskPlan, files: Sequence[Path]) -> str:
    """The summary for people.

    Args:
        plan: the task.
        files: the task's file and that of its generative variant.
    """
    columns, commands = plan.draft.config.columns, _next_commands(files)
    width = max(map(len, commands)) + 1
    lines = [
        f"{plan.rows:,} rows: text in {columns.text}, label in {columns.label}",
        "labels: " + ", ".join(f"{label} {count:,}" for label, count in plan.labels.items()),
        "splits: " + ", ".join(f"{split} {count:,}" for split, count in plan.splits.items()),
        *(f"note: {note}" for note in plan.notes),
        f"written: {files[0]} and {files[1]}",
        "next:",
        *(f"  {purpose + ':':<{width}} {command}" for purpose, command in commands.items()),
    ]
    return "\n".join(lines)


def _next_commands(files: Sequence[Path]) -> dict[str, str]:
    file, name, folder = shlex.quote(str(files[0])), files[0].stem, shlex.quote(str(files[0].parent))
    tasks = f"--tasks {name},{files[1].stem} --include_path {folder}"
    model = "--model_args pretrained=MODEL --apply_chat_template --output_path results/ --log_samples"
    return {
        "look for mistakes": f"fin task check {file}",
        "see the prompt": f"fin task show {file}",
        "score a model": f"fin eval {tasks} --model fin_hf {model}",
        "the same with lm-eval alone": f"lm_eval {tasks} --model hf {model}",
        "the board": "fin board results/ --out board/",
    }


def _select_labels(counts: dict[str, int], request: TaskRequest) -> dict[str, int]:
    """Rows by label, in the requested order."""
    unlisted = [label for label in counts if request.labels and label not in request.labels]
    if unlisted:
        listing = ", ".join(f"{label} ({counts[label]:,})" for label in unlisted)
        raise FinError(f"--labels leaves out what the data has: {listing}")
    for label in request.words:
        if label not in counts:
            suggestion = did_you_mean(label, counts)
            raise FinError(f"--alias {label}=…: no such label in the data{suggestion}; there are {', '.join(counts)}")
    return {label: counts.get(label, 0) for label in request.labels or counts}


def _drop_labels(texts: "pd.Series[str]", labels: "pd.Series[str]", request: TaskRequest) -> "pd.DataFrame":
    """Texts and labels without the rows of dropped labels."""
    import pandas as pd

    from fin_plugins.tasks.custom_rows import match_label

    known = set(labels.str.strip())
    for label in request.drop_labels:
        if label not in known:
            raise FinError(f"--drop-label {label}: no such label in the data{did_you_mean(label, known)}")
    frame = pd.DataFrame({"text": texts, "label": labels})
    keep = labels.map(lambda value: match_label(value, request.drop_labels) is None).astype(bool)
    return frame[keep].reset_index(drop=True)


def _words(labels: Iterable[str], request: TaskRequest) -> dict[str, str]:
    """The word for each label in the data; one that differs from a word of `--alias` only in case gets that word."""
    from fin_plugins.tasks.label_parser import fold_label

    by_form = {fold_label(word): word for word in request.words.values()}
    return {label: request.words.get(label) or by_form.get(fold_label(label), label) for label in labels}


def _balanced_seed(frame: "pd.DataFrame", words: Mapping[str, str], shares: Mapping[str, float]) -> int | None:
    """A seed, for advice only, with which every split has rows of every frequent label; None if none was found."""
    from fin_plugins.data.splitting import SEED, find_seed
    from fin_plugins.tasks.custom_rows import label_word

    if not shares or sum(shares.values()) > 1:
        return None
    labelled = frame.assign(label=frame["label"].map(lambda label: label_word(label, dict(words))))
    with_text = labelled[labelled["text"].str.strip() != ""]
    return find_seed(with_text, SEED, test=shares.get("test", 0.0), validation=shares.get("validation", 0.0))


def _dataset_config(
    request: TaskRequest, source: DataSource, words: Mapping[str, str]
) -> tuple[CustomDatasetConfig, dict[str, Any]]:
    """The settings under `dataset_kwargs`, and those of them that the file states."""
    is_renamed = any(label != word for label, word in words.items())
    optional = {
        "drop_labels": list(request.drop_labels) or None,
        "split_column": request.split_column or None,
        "splits": dict(request.shares) or None,
        "split_method": "text_hash",
        "split_seed": request.split_seed,
    }
    keys: dict[str, Any] = {
        **source.yaml_keys,
        "columns": {"text": request.text, "label": request.label},
        "labels": dict(words) if is_renamed else list(words),
        **{key: value for key, value in optional.items() if value is not None},
    }
    config, findings = validate(CustomDatasetConfig, keys, CUSTOM_DATASET_PLACEHOLDERS)
    if config is None:
        raise FinError("; ".join(f"{'.'.join(map(str, key))}: {message}" for key, message in findings))
    return config, keys


def _require_parseable(words: Sequence[str], labels: Mapping[str, str]) -> None:
    """Raise an error if the answer parser could not find or distinguish the words.

    Args:
        words: the label words.
        labels: the word by label in the data.
    """
    from fin_plugins.tasks.label_parser import fold_label, parse_label

    unprintable = next((word for word in words if not word.isprintable()), None)
    if unprintable is not None:
        raise FinError(f"label {unprintable!r}: has a line break or an invisible character: use --alias LABEL=WORD")
    by_form: dict[tuple[str, ...], list[str]] = {}
    for word in words:
        by_form.setdefault(fold_label(word), []).append(word)
    clashes = [group for form, group in by_form.items() if form and len(group) > 1]
    if clashes:
        listing = "; ".join(", ".join(group) for group in clashes)
        merge = " ".join(f"--alias {shlex.quote(_merging_alias(group, labels))}" for group in clashes)
        raise FinError(f"labels that nobody can distinguish in an answer: {listing}: merge them: {merge}")
    try:
        parse_label("", words)
    except ValueError as error:
        raise FinError(f"{error}: give it a word with --alias LABEL=WORD") from error


def _merging_alias(group: Sequence[str], labels: Mapping[str, str]) -> str:
    """A value of `--alias` that turns one word of a group into the preferred one, which is in lower case if any is."""
    preferred = min(group, key=lambda word: (word != word.lower(), word))
    return next(f"{label}={preferred}" for label, word in labels.items() if word in group and word != preferred)
