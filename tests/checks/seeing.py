"""Files as the checker sees them, without their rows."""

from pathlib import Path

from fin_plugins.checks.every import check
from fin_plugins.checks.find import Named
from fin_plugins.checks.ignores import kept
from fin_plugins.checks.model import Finding, Options
from fin_plugins.checks.rules import rules


def seen(*files: str) -> list[Finding]:
    """What is found in files of the working directory, comments that let findings stand applied."""
    checked = check([Named(Path(file), file) for file in files], Options(look_at_rows=False))
    looked_at = {code for code in rules() if code[0] not in "DPT"}
    return sorted(kept(checked.findings, files, rules(), looked_at))


def short(findings: list[Finding]) -> set[str]:
    """As the first comment of a seeded fault has them."""
    return {f"{one.code} {one.key or '-'} line {one.line}" for one in findings}
