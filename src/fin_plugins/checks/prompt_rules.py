"""Rules on the templates of a task and on the prompts that they render, that need no tokenizer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fin_plugins.checks.data_rules import scored_split
from fin_plugins.checks.findings import Finding
from fin_plugins.checks.task_file import TaskFile
from fin_plugins.checks.task_rows import TaskRows
from fin_plugins.checks.template_sandbox import (
    RenderingError,
    TemplateSyntaxError,
    parse_template,
    render_all,
    variables,
)
from fin_plugins.common.foreign_files import UnreadableFile, get_in, read_text
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Function, Key

_TEMPLATE_KEYS: tuple[Key, ...] = (
    ("description",),
    ("doc_to_text",),
    ("doc_to_target",),
    ("doc_to_choice",),
    ("gen_prefix",),
    ("doc_to_decontamination_query",),
    ("fewshot_config", "doc_to_text"),
    ("fewshot_config", "doc_to_target"),
    ("fewshot_config", "doc_to_choice"),
    ("fewshot_config", "gen_prefix"),
)
"""Keys at which lm-eval takes a template or the name of a column."""
_PROMPT_KEYS: tuple[Key, ...] = (("description",), ("doc_to_text",), ("gen_prefix",))
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*\s*(#.*)?$")
_MAX_LISTED = 12
_PROBE_ROWS = 50
"""Rows with which a template is tried."""
_MIN_COINCIDENCE_ROWS = 10
"""With fewer rows, a column may match the labels by chance."""

Documents = Sequence[Mapping[str, Any]]


def check_template_syntax(file: TaskFile) -> Iterator[Finding]:
    """Rule P02."""
    for key, template in _templates(file):
        error = parse_template(template)
        if isinstance(error, TemplateSyntaxError):
            yield _syntax_finding(file, key, error)


def check_prompts(file: TaskFile, rows: TaskRows) -> Iterator[Finding]:
    """Rules P01, P03 to P06 and P09; later rules only run if the template can be rendered."""
    yield from _check_trailing_blank(file)
    findings = list(_check_columns(file, rows))
    yield from findings
    split = scored_split(file, rows) or next(iter(rows.splits), None)
    template = file.data.get("doc_to_text")
    fails = any(finding.key == "doc_to_text" for finding in findings)
    if fails or split is None or not isinstance(template, str) or isinstance(template, Function):
        return
    documents = rows.splits[split].documents
    if documents and not isinstance(parse_template(template), TemplateSyntaxError):
        yield from _check_rendered(file, rows, template, documents)


def _templates(file: TaskFile) -> Iterator[tuple[Key, str]]:
    for key in _TEMPLATE_KEYS:
        value = get_in(file.data, *key)
        if isinstance(value, str) and not isinstance(value, Function):
            yield key, value


def _syntax_finding(file: TaskFile, key: Key, error: TemplateSyntaxError) -> Finding:
    """A finding at the error's line in the file, if the template is a literal block below its key."""
    finding = file.finding("P02", key, f"not a valid Jinja template: {error}")
    try:
        lines = read_text(Path(finding.file)).split("\n")
    except UnreadableFile:
        lines = []
    header = lines[finding.line - 1] if finding.line <= len(lines) else ""
    number = finding.line + error.line
    if not _BLOCK_HEADER.search(header) or ">" in header or number > len(lines):
        return finding
    line = lines[number - 1]
    column = len(line) - len(line.lstrip()) + 1
    return Finding(finding.file, number, column, finding.key, finding.code, finding.message)


def _check_trailing_blank(file: TaskFile) -> Iterator[Finding]:
    key = "gen_prefix" if file.data.get("gen_prefix") else "doc_to_text"
    template = file.data.get(key)
    has_delimiter = file.data.get("target_delimiter", " ") != ""
    if isinstance(template, str) and template.endswith((" ", "\t")) and has_delimiter:
        yield file.finding("P06", (key,), "ends with a blank, and lm-eval adds another: remove the last one")


def _check_columns(file: TaskFile, rows: TaskRows) -> Iterator[Finding]:
    """Every template names existing columns and can be rendered with the first rows."""
    columns = rows.columns
    documents = [document for split in rows.splits.values() for document in split.documents[:_PROBE_ROWS]]
    if not documents:
        return
    listing = ", ".join(columns[:_MAX_LISTED])
    for key, template in _templates(file):
        if _must_be_column(template, key) and template not in columns:
            message = f"there is no column {_with_suggestion(template, rows)}; there are {listing}"
            yield file.finding("P01", key, message)
            continue
        missing = sorted(variables(template) - set(columns)) if template not in columns else []
        error = _first_error(template, documents)
        if missing and error:
            names = ", ".join(_with_suggestion(name, rows) for name in missing)
            yield file.finding("P01", key, f"there is no column {names}; there are {listing}")
        elif error and not isinstance(parse_template(template), TemplateSyntaxError):
            yield file.finding("P09", key, f"cannot be rendered: {error}")


def _must_be_column(template: str, key: Key) -> bool:
    """Whether a template can only be meant as a column name: a constant prompt or choice is of no use."""
    return key[-1] in ("doc_to_text", "doc_to_choice") and template.isidentifier()


def _with_suggestion(name: str, rows: TaskRows) -> str:
    if name in rows.renamed:
        return f"`{name}`: in a template it is called `{rows.renamed[name]}`"
    return f"`{name}`{did_you_mean(name, rows.columns) or did_you_mean(name, rows.renamed)}"


def _first_error(template: str, documents: Documents) -> str | None:
    try:
        render_all(template, documents)
    except RenderingError as error:
        return str(error)
    return None


def _check_rendered(file: TaskFile, rows: TaskRows, template: str, documents: Documents) -> Iterator[Finding]:
    """The prompts are neither empty, nor all the same, nor bare numbers, and do not show the right answer."""
    key, count = ("doc_to_text",), len(documents)
    try:
        prompts = render_all(template, documents)
    except RenderingError as error:
        yield file.finding("P09", key, f"cannot be rendered for some row: {error}")
        return
    empty = sum(not prompt.strip() for prompt in prompts)
    digits = sum(prompt.isdigit() for prompt in prompts)
    if empty:
        yield file.finding("P03", key, f"{empty:,} of {count:,} prompts are empty: nothing is asked")
    elif count > 1 and len(set(prompts)) == 1:
        message = f"the prompt is the same for all {count:,} rows: name a column, as in {{{{text}}}}"
        yield file.finding("P04", key, message)
    elif digits and file.data.get("doc_to_choice") is not None:
        message = f"{digits:,} of {count:,} prompts are only digits, which lm-eval takes for a number: add words"
        yield file.finding("P09", key, message)
    yield from _check_label_leakage(file, rows, documents)


def _check_label_leakage(file: TaskFile, rows: TaskRows, documents: Documents) -> Iterator[Finding]:
    """The prompt does not show the right answer."""
    label = "label" if "label" in rows.answer_columns else next(iter(rows.answer_columns), None)
    has_labels = file.is_fin_task or file.data.get("output_type") == "multiple_choice"
    if label is None or label not in documents[0] or not has_labels:
        return
    for key, template in _templates(file):
        if key not in _PROMPT_KEYS:
            continue
        columns = variables(template) or {template}
        if _depends_on_answer(template, rows.answer_columns, label, documents):
            names = ", ".join(f"`{name}`" for name in sorted(columns & rows.answer_columns))
            yield file.finding("P05", key, f"the prompt changes with the right answer alone: it shows {names}")
            continue
        copies = [name for name in sorted(columns - rows.answer_columns) if _copies_label(name, label, documents)]
        if copies:
            message = f"column `{copies[0]}` matches the label in all {len(documents):,} rows checked"
            yield file.finding("P05", key, f"the prompt shows the right answer: {message}")


def _depends_on_answer(template: str, answer_columns: frozenset[str], label: str, documents: Documents) -> bool:
    """Whether a prompt changes if only the answer is replaced with that of another row."""
    originals, swapped = documents[:_PROBE_ROWS], list[Mapping[str, Any]]()
    for document in originals:
        other = next((row for row in documents if row[label] != document[label]), document)
        swapped.append({**document, **{name: other[name] for name in answer_columns if name in document}})
    try:
        return render_all(template, originals) != render_all(template, swapped)
    except RenderingError:
        return False


def _copies_label(name: str, label: str, documents: Documents) -> bool:
    """Whether a column has exactly one value per label."""
    pairs = {(str(row.get(name)).strip().casefold(), str(row[label]).strip().casefold()) for row in documents}
    values, labels = {value for value, _ in pairs}, {label for _, label in pairs}
    if len(labels) < 2 or not len(pairs) == len(values) == len(labels):
        return False
    return len(documents) >= _MIN_COINCIDENCE_ROWS or values == labels
