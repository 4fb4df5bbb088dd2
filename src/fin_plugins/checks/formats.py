"""Findings as text, as JSON, and as what GitHub shows beside the line."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict

from fin_plugins.checks.model import Finding
from fin_plugins.checks.rules import rules


def as_text(findings: Collection[Finding], files: int) -> Iterator[str]:
    """One line a finding, and a line that sums up."""
    yield from map(str, findings)
    looked_at = f"{files} file{'' if files == 1 else 's'}"
    if not findings:
        yield f"{looked_at}, no problem"
        return
    with_some = len({one.file for one in findings})
    yield f"{len(findings)} problem{'' if len(findings) == 1 else 's'} in {with_some} of {looked_at}"


def as_json(findings: Collection[Finding], files: int, notes: Collection[str]) -> str:
    """All of it as one object."""
    listed = [{**asdict(one), "title": rules()[one.code].title} for one in findings]
    return json.dumps({"files": files, "findings": listed, "notes": list(notes)}, ensure_ascii=False, indent=1)


def as_github(findings: Collection[Finding]) -> Iterator[str]:
    """GitHub's workflow commands, a line each."""
    for one in findings:
        place = f"file={_property(one.file)},line={one.line},col={one.column},title={_property(one.code)}"
        yield f"::error {place}::{_data(f'{one.key}: ' * bool(one.key) + one.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
