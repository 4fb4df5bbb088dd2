"""From a board to files: a page for people, Markdown, a table for programs, JSON, and LaTeX for papers."""

from pathlib import Path

from fin_plugins.board.model import Board
from fin_plugins.board.rendering.latex import latex
from fin_plugins.board.rendering.markdown import markdown
from fin_plugins.board.rendering.page import page
from fin_plugins.board.rendering.plain import plain
from fin_plugins.board.rendering.tables import table
from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError

FILES = ("board.md", "board.csv", "board.json", "board.tex")
PAGE = "index.html"


def render(board: Board, out: Path, *, with_documents: bool = False) -> list[Path]:
    """Write all outputs, each whole or not at all, the page last. The same board gives the same bytes.

    Args:
        board: what they show.
        out: the folder; made where it does not exist.
        with_documents: the page also holds the texts of the documents that a model got wrong.

    Returns:
        The files.

    Raises:
        FinError: the folder cannot be written.
    """
    contents = dict(zip(FILES, (markdown(board), table(board), plain(board), latex(board)), strict=True))
    contents[PAGE] = page(board, FILES, with_documents=with_documents)
    remove_unfinished_files(out)
    for name, text in contents.items():
        _write(out / name, text)
    return [out / name for name in contents]


def _write(file: Path, text: str) -> None:
    # A file name may hold bytes that are no text, which UTF-8 cannot take.
    try:
        write_file(file, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        reason = error.strerror or error
        raise FinError(f"{file}: cannot be written ({reason}): free some space or give another --out") from error
