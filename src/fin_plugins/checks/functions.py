"""Whether what stands behind `!function` is there. Python files are read, not run: checking a file is always safe."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fin_plugins.checks.model import Function, TaskFile
from fin_plugins.common.foreign_files import UnreadableFile, read_bytes
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Key

_OURS = "fin_plugins."
_ANY = {"*", "__getattr__"}
"""In a module's names: it may have any, and only running it would tell."""
_MAKES_NAMES = {"globals", "locals", "vars", "setattr", "exec"}


def all_in(value: Any, key: Key = ()) -> Iterator[tuple[Key, Function]]:
    """Every path behind `!function` in plain data, with where it stands."""
    if isinstance(value, Function):
        yield key, value
    elif isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from all_in(inner, (*key, name))


def registered(file: TaskFile) -> set[str]:
    """What the modules behind a task's functions register with lm-eval by name: filters, metrics, aggregations."""
    sources = {_source_of(path, folder_of(file, key)) for key, path in all_in(file.data)}
    return {name for source in sources if source for name in _registered(read_bytes(source))}


def folder_of(file: TaskFile, key: Key) -> Path:
    """The folder of the file that a key stands in, which may be an included one."""
    return Path(file.spot(key).file).parent


def problem(path: Function, folder: Path) -> str | None:
    """What is wrong with a path, if anything, looked up in lm-eval's order: a file beside the YAML, then packages.

    Args:
        path: as written, as in `utils.process_docs`.
        folder: of the file that the path stands in.
    """
    module, _, name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        return f"{path}: should be a dotted path, as in package.module.function, or in utils.function for utils.py here"
    try:
        source = _found(module, folder)
    except ModuleNotFoundError as error:
        beside = f"{module.rpartition('.')[2]}.py"
        return f"{path}: {error.name}: no such module, neither installed nor as {beside} beside this file"
    return None if source is None else _name_problem(path, name, source)


def resolved(value: Any) -> Any:
    """The object behind a path of this package's; any other value, and a path that leads nowhere, as it is."""
    if not isinstance(value, Function) or not value.startswith(_OURS):
        return value
    module, _, name = value.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return value


def _found(module: str, folder: Path) -> Path | None:
    beside = folder.joinpath(*module.split(".")).with_suffix(".py")
    return beside if beside.is_file() else _source(module)


def _source_of(path: Function, folder: Path) -> Path | None:
    try:
        return None if problem(path, folder) else _found(path.rpartition(".")[0], folder)
    except ModuleNotFoundError:
        return None


@cache
def _registered(source: bytes) -> frozenset[str]:
    """Text in calls such as `register_filter("name")`."""
    try:
        return frozenset(_in_calls(ast.parse(source)))
    except RecursionError:
        return frozenset()


def _in_calls(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("register_"):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            yield from (one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _source(module: str) -> Path | None:
    """The source of an installed module; None where it has none, and so cannot be looked into.

    Only the first name is looked up by Python's own means, which import the packages above a module.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    first, *others = module.split(".")
    spec = find_spec(first)
    if spec is None:
        raise ModuleNotFoundError(name=first)
    if not others:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in map(Path, spec.submodule_search_locations or ()):
        below = folder.joinpath(*others)
        for file in (below.with_suffix(".py"), below / "__init__.py"):
            if file.is_file():
                return file
        if below.is_dir() or list(below.parent.glob(f"{below.name}.*")):
            return None
    raise ModuleNotFoundError(name=module)


def _name_problem(path: str, name: str, source: Path) -> str | None:
    try:
        module = ast.parse(read_bytes(source))
    except UnreadableFile as error:
        return f"{path}: {source.name}: {error.reason}"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{path}: {source.name} is no Python that can be read ({str(error) or type(error).__name__})"
    names = set(_names(module.body))
    names |= (
        {"*"} if any(isinstance(node, ast.Name) and node.id in _MAKES_NAMES for node in ast.walk(module)) else set()
    )
    if name in names or names & _ANY:
        return None
    return f"{path}: {source.name} has no {name}{did_you_mean(name, sorted(names))}"


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """What a module's statements define; `*` where it takes over all of another's."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names)
            case _:
                yield from _assigned(statement)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, and, where it holds others (`if`, `try`), what those define."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from _names([child])
        elif isinstance(child, ast.ExceptHandler):
            yield from _names(child.body)
        else:
            inner = (node for node in ast.walk(child) if isinstance(node, ast.Name))
            yield from (node.id for node in inner if isinstance(node.ctx, ast.Store))
