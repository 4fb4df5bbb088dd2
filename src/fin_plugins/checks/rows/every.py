"""All rules about one task, in order: the template by itself, the rows, the prompts, the tokens."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, Looked, Options, TaskFile
from fin_plugins.checks.rows import instruction, labels, leaks, prompts, splits, templates, texts
from fin_plugins.checks.rows.model import Rows
from fin_plugins.checks.rows.read import read

_ROW_RULES = (splits.check, labels.check, texts.check, leaks.check)


def every_rule(file: TaskFile, options: Options) -> Looked:
    """All findings of a task, and where its rows are not looked at, why.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    found = [*templates.check(file), *instruction.check(file)]
    if not options.look_at_rows:
        return found, None
    reading = read(file)
    found += [file.finding(*problem) for problem in reading.problems]
    if reading.rows is not None:
        found += _about(file, reading.rows, options)
    return sorted(set(found)), reading.note


def _about(file: TaskFile, rows: Rows, options: Options) -> Iterator[Finding]:
    for rule in _ROW_RULES:
        yield from rule(file, rows)
    wrong = list(prompts.check(file, rows))
    yield from wrong
    if options.tokenizer and not wrong:
        from fin_plugins.checks.rows import tokens

        yield from tokens.check(file, rows, options)
