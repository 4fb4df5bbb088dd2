"""Boards rendered once, and a Chromium to look at them with."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.model import Board
from fin_plugins.board.rendering import render
from tests.board import boards

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def made() -> Board:
    return boards.board()


@pytest.fixture(scope="session")
def folders(made: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of outputs by the board's name; the hostile one with its documents."""
    folder = tmp_path_factory.mktemp("boards")
    kinds = {"board": made, "hostile": boards.hostile(), "empty": boards.empty()}
    for name, board in kinds.items():
        render(board, folder / name, with_documents=name == "hostile")
    return {name: folder / name for name in kinds}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; where there is none, the tests that drive the page are skipped and say so."""
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None:
        pytest.skip(f"no Chromium on PATH ({', '.join(CHROMIUMS)}): the page is not driven in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium)
        yield running
        running.close()


class Watched:
    """A page of a board with all that it asked for and said."""

    def __init__(self, browser: Any, folder: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.address = (folder / "index.html").as_uri()
        self.page.goto(self.address)


@pytest.fixture
def opened(browser: Any, folders: dict[str, Path]) -> Iterator[Any]:
    """Open a board by name, with options of a browser context; at the end it must have been quiet and alone."""
    watched: list[Watched] = []

    def open_board(name: str = "board", **options: Any) -> Any:
        watched.append(Watched(browser, folders[name], **options))
        return watched[-1].page

    yield open_board
    for one in watched:
        one.context.close()
        assert one.said == [], "the console must stay empty"
        assert one.requests == [one.address], "the page must ask for nothing but itself"
