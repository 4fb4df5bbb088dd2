"""What the checker reads and what it says. Rules are functions from a `TaskFile` to findings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fin_plugins.common.yaml_nodes import Function as Function
from fin_plugins.common.yaml_nodes import Key

Kind = Literal["task", "group", "training"]


class Spot(NamedTuple):
    """Where a key stands; in a task that includes others, that may be another file."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class Rule:
    """One thing that is looked at.

    Attributes:
        code: stable, as in `L03`.
        title: what is wrong, in a few words.
        why: what happens if it is left, and how to mend it; Markdown, a short paragraph.
    """

    code: str
    title: str
    why: str


@dataclass(frozen=True, order=True)
class Finding:
    """One thing to mend.

    Attributes:
        file: as the user named it (an included file: relative to the working directory where it can be).
        line: counted from 1.
        column: counted from 1.
        key: dotted path, as in `metric_list.2.metric`; empty for the whole.
        code: of the rule.
        message: what is wrong, and what would be right.
    """

    file: str
    line: int
    column: int
    key: str
    code: str
    message: str

    def __str__(self) -> str:
        about = f"{self.key}: " if self.key else ""
        return " ".join(f"{self.file}:{self.line}:{self.column} {about}{self.message} [{self.code}]".split())


@dataclass(frozen=True)
class TaskFile:
    """One file, with what it includes.

    Attributes:
        path: the file.
        name: as the user named it.
        kind: what it is.
        data: the whole as lm-eval would see it, includes applied (later keys win, no deep merge); a value behind
            `!function` is a `Function`.
        spots: where each key of `data` stands, by its path.
        own: keys of the first level that stand in this very file; the rest is included.
        stated: all included files, in the order in which they were read.
    """

    path: Path
    name: str
    kind: Kind
    data: dict[str, Any]
    spots: dict[Key, Spot]
    own: frozenset[str]
    stated: tuple[Path, ...] = field(default=())

    @property
    def ours(self) -> bool:
        """Whether the rules about fin tasks apply: its rows come from our loaders, or it has `metadata.fin`."""
        loader = self.data.get("custom_dataset")
        metadata = self.data.get("metadata")
        from_us = isinstance(loader, Function) and loader.startswith("fin_plugins.")
        return from_us or (isinstance(metadata, dict) and "fin" in metadata)

    def finding(self, code: str, key: Key, message: str) -> Finding:
        """A finding about a key, at its place; a key that is not there is placed where its parent stands."""
        return Finding(*self.spot(key), ".".join(map(str, key)), code, message)

    def spot(self, key: Key) -> Spot:
        """Where a key stands, or what should hold it."""
        parents = (key[:end] for end in range(len(key), 0, -1))
        return next((self.spots[parent] for parent in parents if parent in self.spots), Spot(self.name, 1, 1))


@dataclass(frozen=True)
class Options:
    """What the rules about rows and tokens need to know.

    Attributes:
        tokenizer: folder or hub name of a model, for the rules about tokens; without one they are left out.
        context: tokens that the model reads at most; None for what the tokenizer's files say.
        long_share: share of the rows that may be longer than the context.
        look_at_rows: whether data is read at all.
    """

    tokenizer: str | None = None
    context: int | None = None
    long_share: float = 0.01
    look_at_rows: bool = True


Looked = tuple[list[Finding], str | None]
"""Findings, and where rows could not be read because they are not on this machine, one sentence that says so."""
