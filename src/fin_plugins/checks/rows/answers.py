"""Prompts that show the right answer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.rows.model import Rows
from fin_plugins.checks.rows.rendering import RenderingError, render_all, variables
from fin_plugins.checks.rows.templates import templates

_PROMPT = (("description",), ("doc_to_text",), ("gen_prefix",))
_TRIED = 50
_NO_COINCIDENCE = 10

Documents = Sequence[Mapping[str, Any]]


def check(file: TaskFile, rows: Rows, documents: Documents) -> Iterator[Finding]:
    """Rule P05."""
    label = "label" if "label" in rows.telling else next(iter(rows.telling), None)
    if (
        label is None
        or label not in documents[0]
        or not (file.ours or file.data.get("output_type") == "multiple_choice")
    ):
        return
    for key, template in templates(file):
        if key not in _PROMPT:
            continue
        shown = variables(template) or {template}
        copies = [name for name in sorted(shown - rows.telling) if _says_the_same(name, label, documents)]
        if _changes(template, rows.telling, label, documents):
            told = ", ".join(f"`{name}`" for name in sorted(shown & rows.telling))
            yield file.finding("P05", key, f"the prompt changes with the right answer alone: it shows {told}")
        elif copies:
            told = f"column `{copies[0]}` goes with the label in all {len(documents):,} rows looked at"
            yield file.finding("P05", key, f"the prompt shows the right answer: {told}")


def _changes(template: str, telling: frozenset[str], label: str, documents: Documents) -> bool:
    """Whether a row's prompt is another one where only what tells its answer is another row's."""
    tried, swapped = documents[:_TRIED], list[Mapping[str, Any]]()
    for document in tried:
        other = next((row for row in documents if row[label] != document[label]), document)
        swapped.append({**document, **{name: other[name] for name in telling if name in document}})
    try:
        return render_all(template, tried) != render_all(template, swapped)
    except RenderingError:
        return False


def _says_the_same(name: str, label: str, documents: Documents) -> bool:
    """Whether a column has one value for each label, and another one for each other label."""
    pairs = {(str(row.get(name)).strip().casefold(), str(row[label]).strip().casefold()) for row in documents}
    values, labels = {value for value, _ in pairs}, {told for _, told in pairs}
    if len(labels) < 2 or not len(pairs) == len(values) == len(labels):
        return False
    return len(documents) >= _NO_COINCIDENCE or values == labels
