"""The rule that only `compat/` uses other projects' private names, checked on the syntax tree of one module.

Private uses of one of `PROJECTS` are:

- importing a module or name with a leading underscore, or a module that is not in `DOCUMENTED`;
- an attribute with a leading underscore, also as text in `getattr` and the like, unless it belongs to `self`, `cls`,
  `super()` or a class of the module, or a class or function of the module defines it; an attribute in `INTERNAL`;
- in a subclass of one of their classes, using, overriding or redefining a private name of that class;
- assigning to an attribute of an imported object, `inspect.getsource` of it, or the dotted name of a private module as
  text; assigning `sys.argv`, which is only needed to call their command line.
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
"""Modules that the projects document."""

INTERNAL = frozenset({"engine_core", "llm_engine", "task_index", "tensor_task", "vllm_config"})
"""Internal attributes without a leading underscore."""

ALLOWED_ATTRIBUTES = frozenset({"_fin_plugins"})
"""Private attributes that we set on other projects' functions to mark them."""

_PROJECT = "|".join(PROJECTS)
_PRIVATE_MODULE = re.compile(rf"(?:{_PROJECT})(?:\.\w+)*\._\w+(?:\.\w+)*")
_ATTRIBUTE_FUNCTIONS = ("getattr", "hasattr", "setattr", "delattr")


@dataclass
class Module:
    """A module of this package.

    Attributes:
        name: dotted name.
        text: source.
        package: all modules of the package by name, to look up imported classes.
    """

    name: str
    text: str
    package: "dict[str, Module]" = field(default_factory=dict)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the syntax tree."""
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Classes by name."""
        return {node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, str]:
        """Dotted names of the imported objects by local name."""
        imports: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    imports[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module:
                imports |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return imports

    def problems(self) -> list[str]:
        """Every private use, with its line."""
        rules = (_check_imports, _check_attributes, _check_subclasses, _check_patches, _check_texts)
        problems = {problem for rule in rules for problem in rule(self)}
        return [f"{self.name}:{line}: {message}" for line, message in sorted(problems)]


Problem = tuple[int, str]
"""Line and message."""


def _is_foreign(dotted: str) -> bool:
    return dotted.split(".")[0] in PROJECTS


def _check_imports(module: Module) -> Iterator[Problem]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            imported = [(alias.name, True) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            imported = [(node.module, True), *((name, is_module(name)) for name in names if _is_foreign(name))]
        else:
            continue
        for dotted, is_whole_module in imported:
            if not _is_foreign(dotted):
                continue
            if any(map(is_private, dotted.split("."))):
                yield node.lineno, f"imports {dotted}, which is private"
            elif is_whole_module and dotted not in DOCUMENTED:
                yield node.lineno, f"imports {dotted}, which its project's documentation does not name"


def _check_attributes(module: Module) -> Iterator[Problem]:
    own_objects = {*module.classes, "self", "cls"}
    defined = {node.name for node in module.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _root(node.value) == "self":
            defined.add(node.attr)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            owner, name = node.value, node.attr
        elif _is_call(node, *_ATTRIBUTE_FUNCTIONS) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            owner, name = node.args[0], str(node.args[1].value)
        else:
            continue
        if name in INTERNAL:
            yield node.lineno, f"uses {name}, which is internal to its project"
        elif is_private(name) and name not in ALLOWED_ATTRIBUTES:
            is_own_object = isinstance(owner, ast.Name) and owner.id in own_objects
            is_own = is_own_object or _is_call(owner, "super") or name in defined
            if not is_own or _is_foreign(module.imports.get(_root(owner), "")):
                yield node.lineno, f"uses {name} of {ast.unparse(owner)}, which is private"


def _check_subclasses(module: Module) -> Iterator[Problem]:
    for node in module.classes.values():
        inherited = foreign_private_names(module, node)
        if not inherited:
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                name = inner.name
            elif isinstance(inner, ast.Attribute) and (
                _root(inner.value) in ("self", "cls") or _is_call(inner.value, "super")
            ):
                name = inner.attr
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store) and inner in _class_targets(node):
                name = inner.id
            else:
                continue
            if name in inherited:
                yield inner.lineno, f"{node.name} has {name}, which is private to the class it derives from"


def _class_targets(node: ast.ClassDef) -> list[ast.expr]:
    """Targets of the assignments in a class body."""
    targets: list[ast.expr] = []
    for statement in node.body:
        targets += statement.targets if isinstance(statement, ast.Assign) else []
        targets += [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return targets


def foreign_private_names(module: Module, node: ast.ClassDef) -> frozenset[str]:
    """Private names of the foreign classes that a class derives from, directly or through classes of this package."""
    names: frozenset[str] = frozenset()
    for base in node.bases:
        text = ast.unparse(base).split("[")[0]
        if text in module.classes and module.classes[text] is not node:
            names |= foreign_private_names(module, module.classes[text])
            continue
        dotted = module.imports.get(text.split(".")[0], "") + text[len(text.split(".")[0]) :]
        owner, _, name = dotted.rpartition(".")
        source = module.package.get(owner)
        while source and name in source.imports and name not in source.classes:  # imported there from elsewhere
            owner, _, name = source.imports[name].rpartition(".")
            source = module.package.get(owner)
        if source and name in source.classes:
            names |= foreign_private_names(source, source.classes[name])
        elif _is_foreign(owner) and folder_of(owner.split(".")[0]):
            names |= private_names(owner.split(".")[0], name)
    return names


def _check_patches(module: Module) -> Iterator[Problem]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            if _is_foreign(module.imports.get(_root(node.value), "")):
                yield node.lineno, f"patches {ast.unparse(node)}"
            elif node.attr == "argv" and _root(node) == "sys":
                yield node.lineno, "sets sys.argv"
        elif isinstance(node, ast.Call) and _last(node.func) == "getsource":
            for argument in node.args:
                if _is_foreign(module.imports.get(_root(argument), "")):
                    yield node.lineno, f"reads the source of {ast.unparse(argument)}"


def _check_texts(module: Module) -> Iterator[Problem]:
    for node in module.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _PRIVATE_MODULE.fullmatch(node.value):
            yield node.lineno, f"names {node.value}, which is private"


def _root(node: ast.expr) -> str:
    """The name at the start of a chain of attributes and subscripts; empty if it starts with another expression."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _last(node: ast.expr) -> str:
    """The last name of a chain of attributes."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_call(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
