"""Make the relative links of a Markdown file absolute, in place: `absolute_links.py FILE REPOSITORY TAG`.

PyPI shows the README without the repository around it. The release workflow runs this before it builds.
"""

import re
import sys
from pathlib import Path

_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?:|#)([^)\s]+)\)")


def absolute(text: str, repository: str, tag: str) -> str:
    """The text with links to the repository's pages of files, and pictures to the files themselves."""

    def address(match: re.Match[str]) -> str:
        kind = "raw" if match[1] else "blob"
        return f"{match[1]}{match[2]}({repository}/{kind}/{tag}/{match[3]})"

    return _LINK.sub(address, text)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(absolute(file.read_text(encoding="utf-8"), sys.argv[2].rstrip("/"), sys.argv[3]), encoding="utf-8")
