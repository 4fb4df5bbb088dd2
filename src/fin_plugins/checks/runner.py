"""Runs the checker: finds the files, applies every rule, and drops findings that only follow from others."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fin_plugins.checks import data_rules, key_rules, label_rules, metric_rules, prompt_rules, references, task_names
from fin_plugins.checks.findings import Finding
from fin_plugins.checks.row_loading import load_task_rows
from fin_plugins.checks.task_file import TaskFile, is_plausible, load_task_file, real_path
from fin_plugins.checks.task_names import TaskRegistry
from fin_plugins.checks.task_rows import RowsResult, TaskRows
from fin_plugins.common.errors import FinError

_SUFFIXES = (".yaml", ".yml")
_UNREADABLE_VALUE = ("Y06", "Y07", "F03", "F05")
"""Rules on values that are unreadable, or name a missing file: further findings about such a key only follow."""
_MISSING_ROWS = ("F03", "F05")
"""Of a missing file, only findings about its rows follow."""
_UNRENDERABLE = {"P01", "P02", "P09"}
"""The template makes no prompts, so there are no tokens to check."""


class NamedPath(NamedTuple):
    """A file, and its name in findings."""

    path: Path
    name: str


@dataclass(frozen=True)
class CheckOptions:
    """What is checked besides the files themselves.

    Attributes:
        tokenizer: folder or hub name of a model, for the rules on tokens; None leaves them out.
        context: tokens in the model's context; None for what its files state.
        max_long_share: share of the rows that may be longer than the context.
        read_rows: whether data is read at all.
    """

    tokenizer: str | None = None
    context: int | None = None
    max_long_share: float = 0.01
    read_rows: bool = True


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        findings: sorted by file and line.
        notes: why some rows were not checked.
        facts: remarks on the user's own tables: rows per split, and missing labels.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    facts: tuple[str, ...] = ()


def find_files(paths: Iterable[str]) -> tuple[list[NamedPath], list[str]]:
    """The files to check, and notes on those left out.

    A file is checked whatever its name. In a folder, all .yaml and .yml files are checked, also in subfolders, except
    those without a key of ours or of lm-eval, and those that are only included by others.

    Raises:
        FinError: there is no such file or folder, or no YAML file in a folder.
    """
    files: dict[Path, NamedPath] = {}
    notes: list[str] = []
    for given in paths:
        path = Path(given)
        if os.path.isdir(given):  # noqa: PTH112 - never raises, whatever the name
            for file in _defining_files(path):
                name = os.path.normpath(file)
                if is_plausible(file):
                    files.setdefault(real_path(file), NamedPath(file, name))
                else:
                    notes.append(f"{name}: left out: no task, group or training file")
        elif os.path.lexists(given):  # an unreadable file is a finding
            files.setdefault(real_path(path), NamedPath(path, os.path.normpath(given)))
        else:
            raise FinError(f"{given}: no such file or folder")
    return sorted(files.values(), key=lambda file: file.name), notes


def check_files(paths: Iterable[NamedPath], options: CheckOptions) -> CheckResult:
    """Check files.

    Args:
        paths: the files.
        options: whether rows are read, and the tokenizer.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    findings: dict[str, list[Finding]] = {}
    files: list[TaskFile] = []
    for path, name in paths:
        loaded = load_task_file(path, name)
        findings[name] = list(loaded.findings)
        files += [loaded.file] if loaded.file else []
    registry, notes, facts = TaskRegistry(tuple(files)), list[str](), list[str]()
    for file in files:
        findings[file.name] += _check_definition(file, registry)
        if file.kind == "training" and options.read_rows:
            findings[file.name] += key_rules.check_training_file(file, rows=True)
        row_findings, note = check_task_rows(file, options)
        findings[file.name] += row_findings
        notes += [note] if note else []
        facts += row_facts(file, options)
    unique = set(_without_consequences(findings, files))
    return CheckResult(tuple(sorted(unique)), tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(facts)))


def check_task_rows(file: TaskFile, options: CheckOptions) -> tuple[list[Finding], str | None]:
    """Check the rows, prompts and tokens of a task.

    Args:
        file: any file; groups and training files have no rows and give nothing.
        options: whether rows are read, and the tokenizer.

    Returns:
        The findings, and a note if the rows were not checked.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    if not _has_rows(file):
        return [], None
    findings = list(prompt_rules.check_template_syntax(file))
    result = load_task_rows(file) if options.read_rows else RowsResult()
    findings += [file.finding(*problem) for problem in result.problems]
    if result.rows is not None:
        findings += _check_data(file, result.rows, options, _is_unrenderable(findings))
    if not any(map(_is_misspelt_label, findings)):  # which the instruction would only repeat
        findings += label_rules.check_instruction(file)
    return sorted(set(findings)), result.note


def row_facts(file: TaskFile, options: CheckOptions) -> tuple[str, ...]:
    """Remarks on a task's rows that are not findings; the same for a task and its generative variant."""
    return tuple(load_task_rows(file).facts) if options.read_rows and _has_rows(file) else ()


def _defining_files(folder: Path) -> Iterator[Path]:
    """The YAML files in and below a folder, without those that others include and that define nothing themselves."""
    files = list(_yaml_files(folder))
    if not files:
        raise FinError(f"{folder}: no .yaml file in this folder or below")
    loaded = {real_path(file): load_task_file(file, str(file)).file for file in files}
    included = {path for file in loaded.values() if file for path in file.includes}
    for file in files:
        path = real_path(file)
        if path not in included or loaded[path] is not None:
            yield file


def _yaml_files(folder: Path) -> Iterator[Path]:
    """The YAML files in and below a folder; hidden and cache folders and links to folders are skipped."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(parent) / name for name in sorted(files) if name.endswith(_SUFFIXES))


def _check_definition(file: TaskFile, registry: TaskRegistry) -> Iterator[Finding]:
    """All rules that need no rows."""
    if file.kind == "training":
        yield from key_rules.check_training_file(file)
        return
    if file.kind == "task":
        yield from key_rules.check_task_keys(file)
        yield from key_rules.check_fin_keys(file)
        yield from key_rules.check_card(file)
        yield from references.check_data_files(file)
        yield from label_rules.check_labels(file)
        yield from data_rules.check_split_roles(file)
        yield from metric_rules.check_metrics(file)
    else:
        yield from key_rules.check_group_keys(file)
        yield from metric_rules.check_group(file, registry)
    yield from references.check_functions(file)
    yield from task_names.check_names(file, registry)


def _has_rows(file: TaskFile) -> bool:
    return file.kind == "task" and "class" not in file.data


def _check_data(file: TaskFile, rows: TaskRows, options: CheckOptions, unrenderable: bool) -> Iterator[Finding]:
    yield from data_rules.check_rows(file, rows)
    findings = list(prompt_rules.check_prompts(file, rows))
    yield from findings
    if options.tokenizer and not unrenderable and not _is_unrenderable(findings):
        from fin_plugins.checks.token_rules import check_tokens

        yield from check_tokens(file, rows, options.tokenizer, options.context, options.max_long_share)


def _is_unrenderable(findings: Iterable[Finding]) -> bool:
    return any(finding.code in _UNRENDERABLE for finding in findings)


def _is_misspelt_label(finding: Finding) -> bool:
    return finding.code == "D04" or (finding.code == "D03" and "did you mean" in finding.message)


def _without_consequences(findings: dict[str, list[Finding]], files: list[TaskFile]) -> Iterator[Finding]:
    """Drop findings that repeat one of an included task, or follow from a value that could not be read."""
    names = {real_path(file.path): file.name for file in files}
    includes = {file.name: [names[path] for path in file.includes if path in names] for file in files}
    for name, file_findings in findings.items():
        repeated = {
            (finding.key, finding.code, finding.message)
            for included in includes.get(name, ())
            for finding in findings[included]
        }
        causes = [finding for finding in file_findings if finding.code in _UNREADABLE_VALUE]
        for finding in file_findings:
            follows = any(_follows(finding, cause) for cause in causes)
            if (finding.key, finding.code, finding.message) not in repeated and not follows:
                yield finding


def _follows(finding: Finding, cause: Finding) -> bool:
    """Whether a finding is about the same key as its cause, or one below, and so only follows from it."""
    if finding.code in _UNREADABLE_VALUE or finding.file != cause.file or not cause.key:
        return False
    is_affected = finding.code.startswith("D") or cause.code not in _MISSING_ROWS
    return is_affected and f"{finding.key}.".startswith(f"{cause.key}.")
