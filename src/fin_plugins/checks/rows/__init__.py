"""The rules that look at rows, at the prompt rendered from them, and at the tokens of a given tokenizer."""

from fin_plugins.checks.model import Looked, Options, TaskFile
from fin_plugins.checks.rows.rules import RULES

__all__ = ["RULES", "check", "facts"]


def check(file: TaskFile, options: Options) -> Looked:
    """What is wrong with a task's rows, prompt and tokens.

    Args:
        file: any file; group and training files have no rows, and give nothing.
        options: whether rows are read at all, and the tokenizer, if any.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    if file.kind != "task" or "class" in file.data:
        return [], None
    from fin_plugins.checks.rows.every import every_rule

    return every_rule(file, options)


def facts(file: TaskFile, options: Options) -> tuple[str, ...]:
    """What the user should know of a task's rows though it is no mistake; a task and its twin say the same.

    Args:
        file: any file.
        options: whether rows are read at all.
    """
    if file.kind != "task" or "class" in file.data or not options.look_at_rows:
        return ()
    from fin_plugins.checks.rows.read import read

    return tuple(read(file).facts)
