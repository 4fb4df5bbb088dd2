"""The commands in a Markdown file, as somebody would type them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

_BLOCK = re.compile(
    r"(?:<!-- exit status (?P<status>\d) -->\n)?```(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_SUBSTITUTION = re.compile(r"\$\([^)]*\)")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")

GENERATED = {"tasks.md", "configurations.md", "rules.md"}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: `sh` for commands, `yaml` for files, empty for printed text.
        text: its content.
        status: exit status of the commands, from a comment above the block.
    """

    language: str
    text: str
    status: int

    @property
    def lines(self) -> list[str]:
        """Its commands, one per line."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]

    @property
    def commands(self) -> list[list[str]]:
        """Its commands, each as a list of words, without comments."""
        return [shlex.split(line, comments=True) for line in self.lines]


def blocks(markdown: str) -> list[Block]:
    """All blocks in order."""
    return [Block(match["language"], match["text"], int(match["status"] or 0)) for match in _BLOCK.finditer(markdown)]


def pages() -> list[Path]:
    """All pages that people wrote: the site's, and the Markdown files beside the code."""
    site = [file for file in (ROOT / "docs").rglob("*.md") if "_build" not in file.parts and "api" not in file.parts]
    beside = ["README.md", "CONTRIBUTING.md", *(f"{folder}/README.md" for folder in ("examples", "training"))]
    return [*(file for file in sorted(site) if file.name not in GENERATED), *(ROOT / name for name in beside)]


def typed_commands(page: Path) -> list[list[str]]:
    """The commands of a page's `sh` blocks as words, without assignments in front; `$(…)` is one word."""
    commands = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "sh":
            for line in block.lines:
                words = shlex.split(_SUBSTITUTION.sub("SUBSTITUTED", line), comments=True)
                while words and _ASSIGNMENT.fullmatch(words[0]):
                    words = words[1:]
                commands.append(words)
    return commands
