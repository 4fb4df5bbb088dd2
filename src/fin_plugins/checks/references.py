"""What a file refers to: functions behind `!function`, and data files. Python files are parsed, never run."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fin_plugins.checks.findings import Finding
from fin_plugins.checks.task_file import CUSTOM_ROWS_LOADER, TaskFile
from fin_plugins.common.errors import first_line
from fin_plugins.common.foreign_files import UnreadableFile, read_bytes
from fin_plugins.common.validation import did_you_mean
from fin_plugins.common.yaml_nodes import Function, Key

_DYNAMIC_NAMES = {"*", "__getattr__"}
"""In a module's names: the module may define any name, which only running it would show."""
_DYNAMIC_CALLS = {"globals", "locals", "vars", "setattr", "exec"}


def check_functions(file: TaskFile) -> Iterator[Finding]:
    """Rule F04."""
    for key, path in _functions_in(file.data):
        if problem := _function_problem(path, _folder_of(file, key)):
            yield file.finding("F04", key, problem)


def check_data_files(file: TaskFile) -> Iterator[Finding]:
    """Rules F03 and F05 for the tables of a custom data set."""
    if file.data.get("custom_dataset") != CUSTOM_ROWS_LOADER:
        return
    for key, name in _tables(file.dataset_kwargs):
        if Path(name).is_absolute():
            message = f"{name}: an absolute path works on one machine only; use a path relative to this file"
            yield file.finding("F03", key, message)
        elif not _is_file(file.path.parent / name):
            yield file.finding("F05", key, f"{name}: no such file in {Path(file.name).parent}{_similar(file, name)}")


def registered_names(file: TaskFile) -> set[str]:
    """Names of filters, metrics and aggregations that the modules behind a task's functions register with lm-eval."""
    sources = {_existing_source(path, _folder_of(file, key)) for key, path in _functions_in(file.data)}
    return {name for source in sources if source for name in _registrations(read_bytes(source))}


def resolve_function(value: Any) -> Any:
    """The object behind a `!function` path into this package; any other value, or a broken path, unchanged."""
    if not isinstance(value, Function) or not value.startswith("fin_plugins."):
        return value
    module, _, name = value.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return value


def _functions_in(value: Any, key: Key = ()) -> Iterator[tuple[Key, Function]]:
    """Every `!function` path in plain data, with its key."""
    if isinstance(value, Function):
        yield key, value
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _functions_in(item, (*key, name))


def _folder_of(file: TaskFile, key: Key) -> Path:
    """The folder of the file, possibly an included one, that contains a key."""
    return Path(file.locate(key).file).parent


def _function_problem(path: Function, folder: Path) -> str | None:
    """What is wrong with a path such as `utils.process_docs`, or None.

    Args:
        path: as written.
        folder: folder of the YAML file; like lm-eval, look there first and then among installed packages.
    """
    module, _, name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        return f"{path}: should be a dotted path: package.module.function, or utils.function for a utils.py here"
    try:
        source = _source(module, folder)
    except ModuleNotFoundError as error:
        local = f"{module.rpartition('.')[2]}.py"
        return f"{path}: {error.name}: no such module, neither installed nor as {local} beside this file"
    return None if source is None else _name_problem(path, name, source)


def _source(module: str, folder: Path) -> Path | None:
    """The source file of a module; None if it has none.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    local = folder.joinpath(*module.split(".")).with_suffix(".py")
    return local if local.is_file() else _installed_source(module)


def _installed_source(module: str) -> Path | None:
    """The source file of an installed module; None if it has none.

    `find_spec` only looks up the first name, because it imports the packages above a module.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    package, *names = module.split(".")
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(name=package)
    if not names:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in map(Path, spec.submodule_search_locations or ()):
        path = folder.joinpath(*names)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
        if path.is_dir() or list(path.parent.glob(f"{path.name}.*")):
            return None
    raise ModuleNotFoundError(name=module)


def _existing_source(path: Function, folder: Path) -> Path | None:
    try:
        return None if _function_problem(path, folder) else _source(path.rpartition(".")[0], folder)
    except ModuleNotFoundError:
        return None


def _name_problem(path: str, name: str, source: Path) -> str | None:
    try:
        module = ast.parse(read_bytes(source))
    except UnreadableFile as error:
        return f"{path}: {source.name}: {error.reason}"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{path}: {source.name} is not valid Python ({first_line(error)})"
    names = set(_defined_names(module.body))
    is_dynamic = any(isinstance(node, ast.Name) and node.id in _DYNAMIC_CALLS for node in ast.walk(module))
    if name in names or names & _DYNAMIC_NAMES or is_dynamic:
        return None
    return f"{path}: {source.name} has no {name}{did_you_mean(name, sorted(names))}"


def _defined_names(body: list[ast.stmt]) -> Iterator[str]:
    """The names that a module's statements define; `*` for a star import."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names)
            case _:
                yield from _bound_names(statement)


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds, including those in nested statements such as `if` and `try`."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from _defined_names([child])
        elif isinstance(child, ast.ExceptHandler):
            yield from _defined_names(child.body)
        else:
            nodes = (node for node in ast.walk(child) if isinstance(node, ast.Name))
            yield from (node.id for node in nodes if isinstance(node.ctx, ast.Store))


@cache
def _registrations(source: bytes) -> frozenset[str]:
    """String arguments of calls such as `register_filter("name")`."""
    try:
        return frozenset(_registration_arguments(ast.parse(source)))
    except RecursionError:
        return frozenset()


def _registration_arguments(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("register_"):
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            yield from (item.value for item in values if isinstance(item, ast.Constant) and isinstance(item.value, str))


def _tables(settings: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    if isinstance(settings.get("file"), str):
        yield ("dataset_kwargs", "file"), settings["file"]
    files = settings.get("files")
    for split, name in files.items() if isinstance(files, dict) else ():
        if isinstance(name, str):
            yield ("dataset_kwargs", "files", split), name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _similar(file: TaskFile, name: str) -> str:
    """A suggestion: a file in the same folder with a similar name."""
    try:
        return did_you_mean(name, [path.name for path in (file.path.parent / name).parent.iterdir() if path.is_file()])
    except (OSError, ValueError):
        return ""
