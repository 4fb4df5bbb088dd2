"""The commands in a Markdown file, as somebody would type them."""

import re
import shlex
from dataclasses import dataclass

_BLOCK = re.compile(
    r"(?:<!-- exit status (?P<status>\d) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: `sh` for commands, `yaml` for files, empty for what is printed.
        text: what stands in it.
        status: exit status of the commands, from a comment above the block.
    """

    language: str
    text: str
    status: int

    @property
    def commands(self) -> list[list[str]]:
        """Its commands, each as a list of words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.split(line) for line in lines if line.strip()]


def blocks(markdown: str) -> list[Block]:
    """All blocks in order."""
    return [Block(one["language"], one["text"], int(one["status"] or 0)) for one in _BLOCK.finditer(markdown)]
