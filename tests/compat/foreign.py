"""Private names of other projects' classes, read from their installed source without importing it."""

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PROJECTS = ("lm_eval", "vllm", "transformers", "peft", "trl", "mergekit", "snakemake", "torch")
"""The projects whose internals only `compat/` may touch."""

_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)


def is_private(name: str) -> bool:
    """Whether a name has a leading underscore and is not a special name such as `__init__`."""
    return name.startswith("_") and name != "_" and not (name.startswith("__") and name.endswith("__"))


@cache
def folder_of(project: str) -> Path | None:
    """Folder of an installed project; None if it is not installed."""
    spec = find_spec(project)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@cache
def is_module(dotted: str) -> bool:
    """Whether a dotted name is a module of an installed project."""
    project, *parts = dotted.split(".")
    path = (folder_of(project) or Path("/nowhere")).joinpath(*parts)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def private_names(project: str, class_name: str) -> frozenset[str]:
    """Private methods and attributes of a class and of its bases from `PROJECTS`, without torch.

    Raises:
        LookupError: the project has no such class.
    """
    names: set[str] = set()
    for tree in _defining_modules(project, class_name):
        sources = _import_sources(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                names |= set(_class_names(node))
                for base in (ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases):
                    owner = sources.get(base, project)
                    if owner in PROJECTS and owner != "torch" and base != class_name:
                        with suppress(LookupError):  # imported from another project, or under another name
                            names |= private_names(owner, base)
    return frozenset(names)


def _defining_modules(project: str, class_name: str) -> list[ast.Module]:
    """The modules that define a class, at the lowest depth in the project's folder."""
    for depth in range(1, 6):
        texts = [text for text, classes in _sources(project, depth) if class_name in classes]
        if texts:
            return [ast.parse(text) for text in texts]
    raise LookupError(f"{project} has no class {class_name}")


@cache
def _sources(project: str, depth: int) -> list[tuple[str, frozenset[str]]]:
    """Sources of the modules at a folder depth, each with the names of its classes."""
    folder = folder_of(project)
    files = sorted(folder.glob("/".join(["*"] * (depth - 1) + ["*.py"]))) if folder else []
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return [(text, frozenset(_CLASS.findall(text))) for text in texts]


def _import_sources(tree: ast.Module) -> dict[str, str]:
    """Imported name to the package that it comes from, without relative imports."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {alias.asname or alias.name: str(node.module).split(".")[0] for node in imports for alias in node.names}


def _class_names(node: ast.ClassDef) -> Iterator[str]:
    """Private methods, attributes of `self` and class attributes of a class."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(inner.name):
            yield inner.name
        elif isinstance(inner, ast.Attribute) and ast.unparse(inner.value) == "self" and is_private(inner.attr):
            yield inner.attr
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name) and is_private(target.id))
