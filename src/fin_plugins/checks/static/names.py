"""Names: usable on the command line, and of one task only."""

import re
from collections.abc import Iterator

from fin_plugins.checks import shipped
from fin_plugins.checks.model import Finding, TaskFile
from fin_plugins.checks.world import World, included_names, is_shipped, name_of

_UNUSABLE = re.compile(r"[\s,*?\[\]/\\]")
_TWIN = "_gen"


def usable(file: TaskFile, world: World) -> Iterator[Finding]:
    """`--tasks` can name it."""
    name = name_of(file)
    wrong = _UNUSABLE.search(name) if name else None
    if wrong or name == "":
        said = f"`{name}` has `{wrong[0]}` in it, which --tasks does not take for a name's" if wrong else "is empty"
        yield file.finding("N04", _key(file), f"{said}: use letters, digits and underscores")


def found(file: TaskFile, world: World) -> Iterator[Finding]:
    """lm-eval looks at files that end in .yaml only."""
    if file.kind != "training" and file.path.suffix != ".yaml":
        message = f"ends in {file.path.suffix or 'nothing'}, and --include_path looks for .yaml only: rename it"
        yield Finding(file.name, 1, 1, "", "N06", message)


def unique(file: TaskFile, world: World) -> Iterator[Finding]:
    """No other task or group has the name, neither here nor among those that ship."""
    name = name_of(file)
    if not name:
        return
    first = next(other for other in world.checked if name_of(other) == name)
    if first is not file:
        yield file.finding("N02", _key(file), f"`{name}` is the name of {first.name}, too: only one of them is found")
    if is_shipped(file):
        return
    if name in {name_of(ours) for ours in shipped.our_files()}:
        message = f"`{name}` is a task of this package: whichever is read last takes its place; choose another name"
        yield file.finding("N03", _key(file), message)
    elif name in shipped.lm_eval_names():
        message = f"`{name}` is a task or group of lm-eval's own: this file would take its place; choose another name"
        yield file.finding("N01", _key(file), message)


def twin(file: TaskFile, world: World) -> Iterator[Finding]:
    """A `_gen` twin of ours has the task whose prompt it shares."""
    name = name_of(file)
    if not name or not name.endswith(_TWIN) or file.kind != "task" or not file.ours:
        return
    base = name.removesuffix(_TWIN)
    if base not in included_names(file) and world.file(base) is None:
        message = f"there is no task `{base}` that it is the twin of: reports put the two side by side by their names"
        yield file.finding("N05", _key(file), message)


def _key(file: TaskFile) -> tuple[str]:
    return ("group",) if file.kind == "group" else ("task",)
