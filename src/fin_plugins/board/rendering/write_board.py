"""Writing all output files of a board."""

from pathlib import Path

from fin_plugins.board.board_data import Board
from fin_plugins.board.rendering.data_export import csv_text, json_text
from fin_plugins.board.rendering.document_tables import latex_text, markdown_text
from fin_plugins.board.rendering.html_page import html_text
from fin_plugins.common.atomic import remove_unfinished_files, write_file
from fin_plugins.common.errors import FinError

DATA_FILES = ("board.md", "board.csv", "board.json", "board.tex")
PAGE = "index.html"


def write_board(board: Board, out: Path, *, with_documents: bool = False) -> list[Path]:
    """Write all output files, each atomically, the page last. The same board gives the same bytes.

    Args:
        board: the board.
        out: output folder, created if it does not exist.
        with_documents: put the texts of wrongly answered documents on the page.

    Returns:
        The files written.

    Raises:
        FinError: the folder cannot be written.
    """
    texts = (markdown_text(board), csv_text(board), json_text(board), latex_text(board))
    contents = dict(zip(DATA_FILES, texts, strict=True))
    contents[PAGE] = html_text(board, DATA_FILES, with_documents=with_documents)
    remove_unfinished_files(out)
    for name, text in contents.items():
        try:
            # A file name may contain bytes that UTF-8 cannot encode.
            write_file(out / name, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            reason = error.strerror or error
            raise FinError(
                f"{out / name}: cannot be written ({reason}); free some space or give another --out"
            ) from error
    return [out / name for name in contents]
