"""The rule that only `compat/` touches other projects' private names, as a walk over the syntax tree of one module.

What counts as private use of one of `PROJECTS`:

- an import of a module or a name with a leading underscore, or of a module that is not in `DOCUMENTED`;
- an attribute with a leading underscore of anything but `self`, `cls`, `super()` and the module's own classes, unless a
  class or function of the same module defines it; `getattr` and its kin with such a name as text; an attribute in
  `INTERNAL`, whose name has no underscore;
- in a class derived from theirs, a private name that their class has too: used, overridden, or meant for something
  else;
- an assignment to an attribute of something imported from them, `inspect.getsource` of it, or a text that is the dotted
  name of one of their private modules; and `sys.argv` assigned, which only a call of their command line needs.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.compat.foreign import PROJECTS, folder_of, is_module, is_private, private_names

DOCUMENTED = frozenset(
    {
        *("lm_eval", "lm_eval.api.instance", "lm_eval.api.model", "lm_eval.api.registry", "lm_eval.api.task"),
        *("lm_eval.config.evaluate_config", "lm_eval.loggers", "lm_eval.models", "lm_eval.models.huggingface"),
        *("lm_eval.tasks", "lm_eval.utils"),
        *("vllm", "vllm.lora.request", "vllm.platforms", "vllm.sampling_params"),
        *("transformers", "transformers.pytorch_utils", "transformers.utils", "transformers.utils.logging"),
        *("peft", "peft.tuners.lora", "trl", "snakemake"),
        *("mergekit.common", "mergekit.config", "mergekit.options"),
        *("torch", "torch.optim.lr_scheduler", "torch.utils.hooks"),
    }
)
"""Modules that their projects' documentation names."""

INTERNAL = frozenset({"engine_core", "llm_engine", "task_index", "tensor_task", "vllm_config"})
"""Attributes without an underscore that lead inside all the same."""

OURS = frozenset({"_fin_plugins"})
"""The mark that we leave on other projects' functions."""

_PROJECT = "|".join(PROJECTS)
_PRIVATE_MODULE = re.compile(rf"(?:{_PROJECT})(?:\.\w+)*\._\w+(?:\.\w+)*")
_BY_TEXT = ("getattr", "hasattr", "setattr", "delattr")


@dataclass
class Module:
    """A module of ours.

    Attributes:
        name: dotted.
        text: its source.
        others: the other modules of ours by name, for classes that are imported from them.
    """

    name: str
    text: str
    others: "dict[str, Module]" = field(default_factory=dict)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of its syntax tree."""
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Its classes by name."""
        return {node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, str]:
        """Dotted names of what is imported, by the name that it has here."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return found

    def problems(self) -> list[str]:
        """Every private use, with its line."""
        found = [*_imports(self), *_attributes(self), *_classes(self), *_patches(self), *_texts(self)]
        return [f"{self.name}:{line}: {message}" for line, message in sorted(set(found))]


Problem = tuple[int, str]


def _foreign(dotted: str) -> bool:
    return dotted.split(".")[0] in PROJECTS


def _imports(module: Module) -> Iterator[Problem]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            wanted = [(alias.name, True) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted = [(node.module, True), *((name, is_module(name)) for name in names if _foreign(name))]
        else:
            continue
        for dotted, whole in wanted:
            if not _foreign(dotted):
                continue
            if any(map(is_private, dotted.split("."))):
                yield node.lineno, f"imports {dotted}, which is private"
            elif whole and dotted not in DOCUMENTED:
                yield node.lineno, f"imports {dotted}, which its project's documentation does not name"


def _attributes(module: Module) -> Iterator[Problem]:
    own = {*module.classes, "self", "cls"}
    defined = {node.name for node in module.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _root(node.value) == "self":
            defined.add(node.attr)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            of, name = node.value, node.attr
        elif _is_call(node, *_BY_TEXT) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            of, name = node.args[0], str(node.args[1].value)
        else:
            continue
        if name in INTERNAL:
            yield node.lineno, f"uses {name}, which is internal to its project"
        elif is_private(name) and name not in OURS:
            ours = (isinstance(of, ast.Name) and of.id in own) or _is_call(of, "super") or name in defined
            if not ours or _foreign(module.imports.get(_root(of), "")):
                yield node.lineno, f"uses {name} of {ast.unparse(of)}, which is private"


def _classes(module: Module) -> Iterator[Problem]:
    for node in module.classes.values():
        theirs = foreign_private_names(module, node)
        if not theirs:
            continue
        for below in ast.walk(node):
            if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef):
                name = below.name
            elif isinstance(below, ast.Attribute) and (
                _root(below.value) in ("self", "cls") or _is_call(below.value, "super")
            ):
                name = below.attr
            elif isinstance(below, ast.Name) and isinstance(below.ctx, ast.Store) and below in _class_level(node):
                name = below.id
            else:
                continue
            if name in theirs:
                yield below.lineno, f"{node.name} has {name}, which is private to the class it derives from"


def _class_level(node: ast.ClassDef) -> list[ast.expr]:
    found: list[ast.expr] = []
    for statement in node.body:
        found += statement.targets if isinstance(statement, ast.Assign) else []
        found += [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return found


def foreign_private_names(module: Module, node: ast.ClassDef) -> frozenset[str]:
    """Private names of the foreign classes that a class derives from, through ours or not."""
    found: frozenset[str] = frozenset()
    for base in node.bases:
        text = ast.unparse(base).split("[")[0]
        if text in module.classes and module.classes[text] is not node:
            found |= foreign_private_names(module, module.classes[text])
            continue
        dotted = module.imports.get(text.split(".")[0], "") + text[len(text.split(".")[0]) :]
        where, _, name = dotted.rpartition(".")
        while (
            where in module.others and name in module.others[where].imports and name not in module.others[where].classes
        ):
            where, _, name = module.others[where].imports[name].rpartition(".")  # passed on
        if where in module.others and name in module.others[where].classes:
            found |= foreign_private_names(module.others[where], module.others[where].classes[name])
        elif _foreign(where) and folder_of(where.split(".")[0]):
            found |= private_names(where.split(".")[0], name)
    return found


def _patches(module: Module) -> Iterator[Problem]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            if _foreign(module.imports.get(_root(node.value), "")):
                yield node.lineno, f"patches {ast.unparse(node)}"
            elif node.attr == "argv" and _root(node) == "sys":
                yield node.lineno, "sets sys.argv"
        elif isinstance(node, ast.Call) and _last(node.func) == "getsource":
            read = [argument for argument in node.args if _foreign(module.imports.get(_root(argument), ""))]
            yield from ((node.lineno, f"reads the source of {ast.unparse(one)}") for one in read)


def _texts(module: Module) -> Iterator[Problem]:
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _PRIVATE_MODULE.fullmatch(node.value):
            yield node.lineno, f"names {node.value}, which is private"


def _root(node: ast.expr) -> str:
    """The name that a chain of attributes and items begins with; empty where it begins with something else."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _last(node: ast.expr) -> str:
    """The last name in a chain of attributes."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_call(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
