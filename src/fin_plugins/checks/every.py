"""All rules over all files: which functions look, and what is said once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fin_plugins.checks.find import Named
from fin_plugins.checks.model import Finding, Options, TaskFile
from fin_plugins.checks.read import read_task_file, real_path
from fin_plugins.checks.static import card, group, keys, labels, metrics, names, references, splits, training
from fin_plugins.checks.world import World

Look = Callable[[TaskFile], Iterable[Finding]]
Look2 = Callable[[TaskFile, World], Iterable[Finding]]

_TASK: tuple[Look, ...] = (
    keys.task_keys,
    keys.our_keys,
    references.functions,
    references.data_files,
    labels.words,
    labels.pairs,
    labels.choices,
    labels.aliases,
    splits.scored,
    splits.apart,
    splits.examples,
    metrics.known,
    metrics.once,
    metrics.computed,
    metrics.processed,
    metrics.filters,
    card.card,
)
_GROUP: tuple[Look, ...] = (keys.group_keys, references.functions)
_OF_KIND: dict[str, tuple[Look, ...]] = {"task": _TASK, "group": _GROUP, "training": (training.training,)}

_NO_VALUE = ("Y06", "Y07", "F03", "F05")
"""A value that could not be read, or a file that is not there: what else is found about it only follows from that."""
_NO_ROWS = ("F03", "F05")
"""Of a file that is not there only what is found in its rows follows."""

_NAMED: tuple[Look2, ...] = (names.usable, names.found, names.unique, names.twin)
_AMONG: dict[str, tuple[Look2, ...]] = {
    "task": _NAMED,
    "group": (*_NAMED, group.members, group.aggregation, group.weights, group.metrics),
    "training": (),
}


@dataclass(frozen=True)
class Checked:
    """What came of checking.

    Attributes:
        findings: in the order of files and lines.
        notes: why something was not looked at.
        facts: how many rows the user's own tables have in each split, and what they lack.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    facts: tuple[str, ...] = ()


def check(paths: Iterable[Named], options: Options) -> Checked:
    """Look at all files.

    Args:
        paths: the files.
        options: whether rows are read, and the tokenizer.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    found: dict[str, list[Finding]] = {}
    files: list[TaskFile] = []
    for path, name in paths:
        read = read_task_file(path, name)
        found[name] = list(read.findings)
        files += [read.file] if read.file else []
    world, notes, facts = World(tuple(files)), list[str](), list[str]()
    for file in files:
        found[file.name] += _static(file, world)
        about_rows, note = _rows(file, options)
        found[file.name] += about_rows
        notes += [note] if note else []
        facts += _facts(file, options)
    kept = set(_once(found, files))
    return Checked(tuple(sorted(kept)), tuple(dict.fromkeys(notes)), tuple(dict.fromkeys(facts)))


def _static(file: TaskFile, world: World) -> Iterator[Finding]:
    for look in _OF_KIND[file.kind]:
        yield from look(file)
    for look2 in _AMONG[file.kind]:
        yield from look2(file, world)


def _rows(file: TaskFile, options: Options) -> tuple[list[Finding], str | None]:
    from fin_plugins.checks import rows

    if file.kind == "training":
        return list(training.training(file, rows=True)) if options.look_at_rows else [], None
    return rows.check(file, options)


def _facts(file: TaskFile, options: Options) -> tuple[str, ...]:
    from fin_plugins.checks import rows

    return rows.facts(file, options)


def _once(found: dict[str, list[Finding]], files: list[TaskFile]) -> Iterator[Finding]:
    """Each finding, less what only follows from another: it was said of the task that a file includes, or its value
    could not be read.
    """
    named = {real_path(file.path): file.name for file in files}
    includes = {file.name: [named[path] for path in file.stated if path in named] for file in files}
    for name, findings in found.items():
        broken = {(one.file, one.key, one.code in _NO_ROWS) for one in findings if one.code in _NO_VALUE}
        said = {(one.key, one.code, one.message) for below in includes.get(name, ()) for one in found[below]}
        for one in findings:
            follows = one.code not in _NO_VALUE and any(
                one.file == file and _below(one, key) and (one.code.startswith("D") or not rows_only)
                for file, key, rows_only in broken
            )
            if (one.key, one.code, one.message) not in said and not follows:
                yield one


def _below(one: Finding, key: str) -> bool:
    return bool(key) and f"{one.key}.".startswith(f"{key}.")
