"""All rules about one task, in order: the template by itself, the rows, the prompts, the tokens."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, Looked, Options, TaskFile
from fin_plugins.checks.rows import instruction, labels, leaks, prompts, splits, templates, texts
from fin_plugins.checks.rows.model import Reading, Rows
from fin_plugins.checks.rows.read import read

_ABOUT_LABELS = ("D03", "D04")
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
        found += _about(file, reading.rows, options)
    if not any(one.code in _ABOUT_LABELS for one in found):  # else a misspelt label would be told twice
        found += instruction.check(file)
    return sorted(set(found)), reading.note


def _about(file: TaskFile, rows: Rows, options: Options) -> Iterator[Finding]:
    for rule in _ROW_RULES:
        yield from rule(file, rows)
    wrong = list(prompts.check(file, rows))
    yield from wrong
    if options.tokenizer and not wrong:
        from fin_plugins.checks.rows import tokens

        yield from tokens.check(file, rows, options)
