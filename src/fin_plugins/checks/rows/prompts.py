"""The prompt of every row, as far as it can be rendered without a model."""

from collections.abc import Iterator, Mapping
from typing import Any

from fin_plugins.checks.model import Finding, Function, TaskFile
from fin_plugins.checks.rows import answers, splits
from fin_plugins.checks.rows.model import Rows
from fin_plugins.checks.rows.rendering import RenderingError, SyntaxFault, parsed, render_all, variables
from fin_plugins.checks.rows.templates import templates
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key

_LISTED = 12
_SHAKEN = 50


def check(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    """Rules P01, P03 to P06 and P09; the later ones only where the template could be rendered."""
    yield from _trailing(file)
    found = list(_columns(file, rows))
    yield from found
    name = splits.scored(file, rows) or next(iter(rows.splits), None)
    template = file.data.get("doc_to_text")
    unrendered = any(one.key == "doc_to_text" for one in found)
    if unrendered or name is None or not isinstance(template, str) or isinstance(template, Function):
        return
    documents = rows.splits[name].documents
    if documents and not isinstance(parsed(template), SyntaxFault):
        yield from _rendered(file, rows, template, documents)


def _trailing(file: TaskFile) -> Iterator[Finding]:
    last = "gen_prefix" if file.data.get("gen_prefix") else "doc_to_text"
    template = file.data.get(last)
    delimited = file.data.get("target_delimiter", " ") != ""
    if isinstance(template, str) and template.endswith((" ", "\t")) and delimited:
        yield file.finding("P06", (last,), "ends with a blank, and lm-eval puts one behind it: take the last one out")


def _columns(file: TaskFile, rows: Rows) -> Iterator[Finding]:
    columns = rows.columns
    documents = [document for split in rows.splits.values() for document in split.documents[:_SHAKEN]]
    if not documents:
        return
    there = ", ".join(columns[:_LISTED])
    for key, template in templates(file):
        if _is_bare(template, key) and template not in columns:
            yield file.finding("P01", key, f"there is no column {_near(template, rows)}; there are {there}")
            continue
        missing = sorted(variables(template) - set(columns)) if template not in columns else []
        error = _first_error(template, documents)
        if missing and error:
            listed = ", ".join(_near(name, rows) for name in missing)
            yield file.finding("P01", key, f"there is no column {listed}; there are {there}")
        elif error and not isinstance(parsed(template), SyntaxFault):
            yield file.finding("P09", key, f"cannot be rendered: {error}")


def _is_bare(template: str, key: Key) -> bool:
    """Whether it can only be meant as a column's name: a constant target or choice is of no use."""
    return key[-1] in ("doc_to_text", "doc_to_choice") and template.isidentifier()


def _near(name: str, rows: Rows) -> str:
    if name in rows.called:
        return f"`{name}`: a template calls it `{rows.called[name]}`"
    near = did_you_mean(name, rows.columns)
    return f"`{name}`{near or did_you_mean(name, rows.called)}"


def _first_error(template: str, documents: list[Mapping[str, Any]]) -> str | None:
    try:
        render_all(template, documents)
    except RenderingError as error:
        return str(error)
    return None


def _rendered(file: TaskFile, rows: Rows, template: str, documents: Any) -> Iterator[Finding]:
    try:
        prompts = render_all(template, documents)
    except RenderingError as error:
        yield file.finding("P09", ("doc_to_text",), f"cannot be rendered for some row: {error}")
        return
    key, number = ("doc_to_text",), len(prompts)
    empty = sum(not prompt.strip() for prompt in prompts)
    digits = sum(prompt.isdigit() for prompt in prompts)
    if empty:
        yield file.finding("P03", key, f"{empty:,} of {number:,} prompts are empty: nothing is asked")
    elif number > 1 and len(set(prompts)) == 1:
        message = f"the prompt is the same for all {number:,} rows: name a column, as in {{{{text}}}}"
        yield file.finding("P04", key, message)
    elif digits and file.data.get("doc_to_choice") is not None:
        message = f"{digits:,} of {number:,} prompts are digits alone, which lm-eval takes for a number: add words"
        yield file.finding("P09", key, message)
    yield from answers.check(file, rows, documents)
