"""Splits: which rows are learnt from, shown as examples, and scored."""

from collections.abc import Iterator

from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.common.yaml_nodes import Key

_ROLES = ("training_split", "validation_split", "test_split")


def scored(file: TaskFile) -> Iterator[Finding]:
    """There is something to score; of ours, on test rows."""
    data = file.data
    if "class" in data or data.get("test_split"):
        return
    if file.ours:
        falls_back = ": lm-eval would score the validation rows" if data.get("validation_split") else ""
        yield file.finding("S03", ("test_split",), f"is missing{falls_back}; as a rule `test_split: test`")
    elif not data.get("validation_split"):
        yield file.finding("S03", ("test_split",), "is missing, and validation_split too: nothing can be scored")


def apart(file: TaskFile) -> Iterator[Finding]:
    """No split of ours has two roles that must not share rows."""
    if not file.ours:
        return
    named = {role: file.data[role] for role in _ROLES if isinstance(file.data.get(role), str)}
    for number, role in enumerate(_ROLES):
        for other in _ROLES[:number]:
            if role in named and named[role] == named.get(other):
                yield file.finding("S02", (role,), f"`{named[role]}` is {other} already: the two must not share rows")


def examples(file: TaskFile) -> Iterator[Finding]:
    """Few-shot examples of ours are not test rows."""
    shots = file.data.get("fewshot_config")
    key: Key = ("fewshot_split",)
    split = file.data.get("fewshot_split")
    if isinstance(shots, dict) and "split" in shots:
        key, split = ("fewshot_config", "split"), shots["split"]
    if file.ours and split and split == file.data.get("test_split"):
        message = f"`{split}` is the test split: examples would show the model rows that it is tested on; take train"
        yield file.finding("S01", key, message)
