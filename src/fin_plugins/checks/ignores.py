"""`# fin: ignore L03`: a finding that somebody has looked at and lets stand."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from fin_plugins.checks.model import Finding
from fin_plugins.common.foreign_files import UnreadableFile, open_file
from fin_plugins.common.yaml_file import MAX_BYTES
from fin_plugins.common.yaml_nodes import MAX_DEPTH

_COMMENT = re.compile(r"(?:^|\s)#\s*fin:\s*ignore\b[\s:]*(?P<codes>[^#]*)")
_CODE = re.compile(r"[A-Z]\d\d")


class Ignore(NamedTuple):
    """One code in one comment."""

    file: str
    line: int
    column: int
    code: str
    whole: bool
    """Whether it stands above the first key, and so is about the whole file."""


_STARTS = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_ENDS = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def kept(
    findings: Collection[Finding], files: Collection[str], known: Collection[str], looked_at: Collection[str]
) -> Iterator[Finding]:
    """Findings that no comment in their file lets stand, and comments that let nothing stand.

    Args:
        findings: all of them.
        files: the files that were checked, by the names that the findings have.
        known: codes that there are.
        looked_at: codes of rules that have looked at everything; of others it is not known what they would find.
    """
    ignores = [ignore for file in sorted({*files, *(one.file for one in findings)}) for ignore in _ignores(Path(file))]
    used: set[Ignore] = set()
    for one in findings:
        lets = [ignore for ignore in ignores if _covers(ignore, one)]
        used.update(lets)
        if not lets:
            yield one
    yield from _idle(set(ignores) - used, known, looked_at)


def _idle(ignores: Iterable[Ignore], known: Collection[str], looked_at: Collection[str]) -> Iterator[Finding]:
    for ignore in ignores:
        place = (ignore.file, ignore.line, ignore.column, "")
        if ignore.code not in known:
            yield Finding(*place, "I02", f"`{ignore.code}` is no rule's code: `fin task check --list-rules` lists them")
        elif ignore.code in looked_at:
            yield Finding(*place, "I01", f"nothing to ignore: {ignore.code} finds nothing here; take the comment out")


def _covers(ignore: Ignore, one: Finding) -> bool:
    return (ignore.file, ignore.code) == (one.file, one.code) and (ignore.whole or ignore.line == one.line)


def _ignores(file: Path) -> Iterator[Ignore]:
    try:
        with open_file(file) as opened:
            text = opened.read(MAX_BYTES).decode("utf-8-sig")
    except (UnreadableFile, OSError, UnicodeDecodeError):
        return
    first_key, inside = _scalars(text)
    for number, line in enumerate(text.split("\n"), 1):
        match = _COMMENT.search(line)
        if match and number not in inside:
            for code in _CODE.finditer(match["codes"]) if _CODE.search(match["codes"]) else [None]:
                shown = code[0] if code else match["codes"].strip()
                column = match.start("codes") + (code.start() if code else 0) + 1
                yield Ignore(str(file), number, column, shown, number < first_key)


def _scalars(text: str) -> tuple[int, set[int]]:
    """The line of the first key, and the lines that stand wholly inside a text of several lines."""
    first, inside, depth = text.count("\n") + 2, set[int](), 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _STARTS) - isinstance(token, _ENDS)
            if depth > MAX_DEPTH:  # PyYAML's time grows with the square of it; the file has a finding of its own
                break
            if isinstance(token, yaml.ScalarToken):
                first = min(first, token.start_mark.line + 1)
                last = token.end_mark.line + (1 if token.style in ("'", '"') else 0)
                inside.update(range(token.start_mark.line + 2, last + 1))
    except (yaml.YAMLError, ValueError, OverflowError):
        pass  # what could be scanned is enough
    return first, inside
