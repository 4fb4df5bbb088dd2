"""Check the links inside a built site, and the relative links of Markdown files: `check_links.py SITE [FILE …]`.

Every link must lead to a file that exists and, where it names one, to an anchor in it. Links to other sites are left to
`make docs-external`.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in {"href", "src"} and value:
                self.links.append(value)


@cache
def page(file: Path) -> _Page:
    """Links and anchors of an HTML file."""
    parsed = _Page()
    parsed.feed(file.read_text(encoding="utf-8"))
    return parsed


@cache
def headings(file: Path) -> set[str]:
    """The anchors that a repository's page gives the headings of a Markdown file."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in _HEADING.findall(text)}


def markdown_links(file: Path) -> list[str]:
    """The links of a Markdown file, outside code blocks."""
    return _MARKDOWN_LINK.findall(_FENCE.sub("", file.read_text(encoding="utf-8")))


def broken_links(file: Path, links: list[str]) -> Iterator[str]:
    """The links of a file that lead nowhere."""
    for link in links:
        address = urlsplit(link)
        if address.scheme or address.netloc:
            continue
        target = (file.parent / unquote(address.path)).resolve() if address.path else file
        if target.is_dir() and file.suffix == ".html":
            target /= "index.html"
        if not target.exists():
            yield f"{file}: {link}: there is no such file"
        elif address.fragment and target.suffix in {".html", ".md"}:
            anchors = page(target).anchors if target.suffix == ".html" else headings(target)
            if address.fragment not in anchors:
                yield f"{file}: {link}: there is no such anchor"


def main(site: Path, *markdown: Path) -> int:
    """Print what is broken; the exit status is 1 if anything is."""
    files = sorted(site.rglob("*.html"))
    problems = [problem for file in files for problem in broken_links(file.resolve(), page(file.resolve()).links)]
    for file in markdown:
        problems += broken_links(file.resolve(), markdown_links(file))
    print("\n".join(problems) or f"{len(files)} pages and {len(markdown)} files: no broken link")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
