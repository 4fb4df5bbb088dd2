"""All rules about one task, in order: the template by itself, the rows, the prompts, the tokens."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, Looked, Options, TaskFile
from fin_plugins.checks.rows import instruction, labels, leaks, prompts, splits, templates, texts
from fin_plugins.checks.rows.model import Reading, Rows
from fin_plugins.checks.rows.read import read

_NEAR = "did you mean"
_UNRENDERED = {"P01", "P02", "P09"}
"""No prompt can be made of the template, so there are no tokens to look at."""
_ROW_RULES = (splits.check, labels.check, texts.check, leaks.check)


def every_rule(file: TaskFile, options: Options) -> Looked:
    """All findings of a task, and where its rows are not looked at, why.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    found = list(templates.check(file))
    reading = read(file) if options.look_at_rows else Reading()
    found += [file.finding(*problem) for problem in reading.problems]
    if reading.rows is not None:
        found += _about(file, reading.rows, options, any(one.code in _UNRENDERED for one in found))
    if not any(map(_of_a_misspelt_label, found)):  # which would be told twice
        found += instruction.check(file)
    return sorted(set(found)), reading.note


def _of_a_misspelt_label(one: Finding) -> bool:
    return one.code == "D04" or (one.code == "D03" and _NEAR in one.message)


def _about(file: TaskFile, rows: Rows, options: Options, unrendered: bool) -> Iterator[Finding]:
    for rule in _ROW_RULES:
        yield from rule(file, rows)
    wrong = list(prompts.check(file, rows))
    yield from wrong
    if options.tokenizer and not unrendered and not any(one.code in _UNRENDERED for one in wrong):
        from fin_plugins.checks.rows import tokens

        yield from tokens.check(file, rows, options)
