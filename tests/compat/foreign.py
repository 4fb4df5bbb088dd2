"""The private names of other projects' classes, read from their installed source; nothing of it is imported."""

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
    """Whether a name has a leading underscore and is not one of Python's own, as `__init__`."""
    return name.startswith("_") and name != "_" and not (name.startswith("__") and name.endswith("__"))


@cache
def folder_of(project: str) -> Path | None:
    """Where a project is installed; None where it is not."""
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
    """Private methods and attributes of a class, and of those of its bases that a project of `PROJECTS` has.

    Raises:
        LookupError: the project has no such class.
    """
    found: set[str] = set()
    for tree in _defining(project, class_name):
        sources = _imported_from(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == class_name:
                found |= set(_names(node))
                for base in (ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases):
                    owner = sources.get(base, project)
                    if owner in PROJECTS and owner != "torch" and base != class_name:
                        with suppress(LookupError):  # of another project, under a name of this file's own
                            found |= private_names(owner, base)
    return frozenset(found)


def _defining(project: str, class_name: str) -> list[ast.Module]:
    """The modules that define a class: those that lie highest in the project's folder."""
    for depth in range(1, 6):
        defining = [text for text, names in _texts(project, depth) if class_name in names]
        if defining:
            return [ast.parse(text) for text in defining]
    raise LookupError(f"{project} has no class {class_name}")


@cache
def _texts(project: str, depth: int) -> list[tuple[str, frozenset[str]]]:
    """Sources of the modules so many folders deep, each with the names of its classes."""
    folder = folder_of(project)
    files = sorted(folder.glob("/".join(["*"] * (depth - 1) + ["*.py"]))) if folder else []
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return [(text, frozenset(_CLASS.findall(text))) for text in texts]


def _imported_from(tree: ast.Module) -> dict[str, str]:
    """By imported name the package that it comes from; nothing for relative imports."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {alias.asname or alias.name: str(node.module).split(".")[0] for node in found for alias in node.names}


def _names(node: ast.ClassDef) -> Iterator[str]:
    for below in ast.walk(node):
        if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(below.name):
            yield below.name
        elif isinstance(below, ast.Attribute) and ast.unparse(below.value) == "self" and is_private(below.attr):
            yield below.attr
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        yield from (one.id for one in targets if isinstance(one, ast.Name) and is_private(one.id))
