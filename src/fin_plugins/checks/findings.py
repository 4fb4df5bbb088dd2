"""Findings of the checker: their rules, the comments that suppress them, and the output formats."""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import yaml

from fin_plugins.common.foreign_files import UnreadableFile, open_file
from fin_plugins.common.yaml_file import MAX_BYTES, Problem
from fin_plugins.common.yaml_nodes import MAX_DEPTH

_YAML_CODES = {
    "syntax": "Y01",
    "encoding": "Y02",
    "size": "Y03",
    "whole": "Y04",
    "twice": "Y05",
    "tag": "Y06",
    "value": "Y07",
    "key": "Y08",
}
_COMMENT = re.compile(r"(?:^|\s)#\s*fin:\s*ignore\b[\s:]*(?P<codes>[^#]*)")
_CODE = re.compile(r"[A-Z]\d\d")
_OPENING_TOKENS = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING_TOKENS = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


@dataclass(frozen=True)
class Rule:
    """One rule of the checker.

    Attributes:
        code: stable identifier, such as `L03`.
        title: what is wrong, in a few words.
        why: what happens if it stays, and how to fix it; a short paragraph of Markdown.
    """

    code: str
    title: str
    why: str


@cache
def all_rules() -> dict[str, Rule]:
    """All rules by code, in the order of `--list-rules`; their texts are in `rules.yaml`."""
    texts = yaml.safe_load(files(__package__).joinpath("rules.yaml").read_text(encoding="utf-8"))
    return {code: Rule(code, text["title"], text["why"]) for code, text in texts.items()}


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule at one place.

    Attributes:
        file: the file as the user named it; an included file relative to the working directory if possible.
        line: counted from 1.
        column: counted from 1.
        key: dotted path, such as `metric_list.2.metric`; empty for the file as a whole.
        code: code of the rule.
        message: what is wrong and how to fix it.
    """

    file: str
    line: int
    column: int
    key: str
    code: str
    message: str

    @classmethod
    def from_yaml_problem(cls, problem: Problem) -> "Finding":
        """The finding for a problem with the YAML itself."""
        code = _YAML_CODES[problem.what or "value"]
        return cls(problem.file, problem.line, problem.column, problem.key, code, problem.message)

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return " ".join(f"{self.file}:{self.line}:{self.column} {key}{self.message} [{self.code}]".split())


def format_text(findings: Collection[Finding], files: int) -> Iterator[str]:
    """One line per finding, then a summary line.

    Args:
        findings: what to print.
        files: number of checked files.
    """
    yield from map(str, findings)
    checked = f"{files} file{'' if files == 1 else 's'}"
    if not findings:
        yield f"{checked}, no problem"
        return
    affected = len({finding.file for finding in findings})
    yield f"{len(findings)} problem{'' if len(findings) == 1 else 's'} in {affected} of {checked}"


def format_json(findings: Collection[Finding], files: int, notes: Collection[str]) -> str:
    """One JSON object with the number of files, the findings with their rules' titles, and the notes."""
    entries = [{**asdict(finding), "title": all_rules()[finding.code].title} for finding in findings]
    return json.dumps({"files": files, "findings": entries, "notes": list(notes)}, ensure_ascii=False, indent=1)


def format_github(findings: Collection[Finding]) -> Iterator[str]:
    """GitHub workflow commands, one per finding."""
    for finding in findings:
        place = f"file={_escape_property(finding.file)},line={finding.line},col={finding.column}"
        message = f"{finding.key}: {finding.message}" if finding.key else finding.message
        yield f"::error {place},title={_escape_property(finding.code)}::{_escape_data(message)}"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


class Suppression(NamedTuple):
    """One code in a comment such as `# fin: ignore L03`."""

    file: str
    line: int
    column: int
    code: str
    file_wide: bool
    """Whether the comment is above the first key and therefore covers the file."""

    def covers(self, finding: Finding) -> bool:
        """Whether the comment suppresses a finding."""
        same = (self.file, self.code) == (finding.file, finding.code)
        return same and (self.file_wide or self.line == finding.line)


def apply_suppressions(
    findings: Collection[Finding], files: Collection[str], known: Collection[str], active: Collection[str]
) -> Iterator[Finding]:
    """Yield the findings that no comment suppresses, and a finding for each comment without effect.

    Args:
        findings: all findings.
        files: names of the checked files, as in the findings.
        known: codes of all rules.
        active: codes of the rules that ran on everything; comments for other rules are never reported as unused.
    """
    names = sorted({*files, *(finding.file for finding in findings)})
    suppressions = [suppression for name in names for suppression in _read_suppressions(Path(name))]
    used: set[Suppression] = set()
    for finding in findings:
        matches = [suppression for suppression in suppressions if suppression.covers(finding)]
        used.update(matches)
        if not matches:
            yield finding
    yield from _unused(set(suppressions) - used, known, active)


def _unused(suppressions: Iterable[Suppression], known: Collection[str], active: Collection[str]) -> Iterator[Finding]:
    for file, line, column, code, _ in suppressions:
        if code not in known:
            message = f"`{code}` is not a rule code; `fin task check --list-rules` lists them"
            yield Finding(file, line, column, "", "I02", message)
        elif code in active:
            yield Finding(file, line, column, "", "I01", f"nothing to ignore: {code} finds nothing here; remove it")


def _read_suppressions(file: Path) -> Iterator[Suppression]:
    try:
        with open_file(file) as opened:
            text = opened.read(MAX_BYTES).decode("utf-8-sig")
    except (UnreadableFile, OSError, UnicodeDecodeError):
        return
    first_key, inside_scalars = _scalar_lines(text)
    for number, line in enumerate(text.split("\n"), 1):
        match = _COMMENT.search(line)
        if match and number not in inside_scalars:
            codes = [(code.start(), code[0]) for code in _CODE.finditer(match["codes"])]
            for offset, code in codes or [(0, match["codes"].strip())]:
                yield Suppression(str(file), number, match.start("codes") + offset + 1, code, number < first_key)


def _scalar_lines(text: str) -> tuple[int, set[int]]:
    """The line of the first key, and the lines that lie inside a multi-line scalar."""
    first, inside, depth = text.count("\n") + 2, set[int](), 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, _OPENING_TOKENS) - isinstance(token, _CLOSING_TOKENS)
            if depth > MAX_DEPTH:  # PyYAML's time grows with the square of the depth; such a file has its own finding
                break
            if isinstance(token, yaml.ScalarToken):
                first = min(first, token.start_mark.line + 1)
                last = token.end_mark.line + (1 if token.style in ("'", '"') else 0)
                inside.update(range(token.start_mark.line + 2, last + 1))
    except (yaml.YAMLError, ValueError, OverflowError):
        pass  # what was scanned so far is enough
    return first, inside
