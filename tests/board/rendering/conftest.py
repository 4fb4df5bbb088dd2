"""Boards rendered once, and a Chromium to open their pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.board_data import Board
from fin_plugins.board.rendering.write_board import write_board
from tests.board import boards

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def folders(full_board: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output folders by name of the board; the hostile one with its documents."""
    root = tmp_path_factory.mktemp("boards")
    rendered = {"board": full_board, "hostile": boards.hostile(), "empty": boards.empty()}
    for name, board in rendered.items():
        write_board(board, root / name, with_documents=name == "hostile")
    return {name: root / name for name in rendered}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium. Without one, the tests that need it are skipped."""
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None:
        pytest.skip(f"no Chromium on PATH ({', '.join(CHROMIUMS)}): the page is not opened in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium)
        yield running
        running.close()


class MonitoredPage:
    """An open page with its requests and console messages."""

    def __init__(self, browser: Any, folder: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.messages.append(dialog.message), dialog.dismiss()))
        self.address = (folder / "index.html").as_uri()
        self.page.goto(self.address)


@pytest.fixture
def open_page(browser: Any, folders: dict[str, Path]) -> Iterator[Any]:
    """Opens a board by name, with options of a browser context. No page may request anything or log a message."""
    pages: list[MonitoredPage] = []

    def open_board(name: str = "board", **options: Any) -> Any:
        pages.append(MonitoredPage(browser, folders[name], **options))
        return pages[-1].page

    yield open_board
    for monitored in pages:
        monitored.context.close()
        assert monitored.messages == [], "the console must stay empty"
        assert monitored.requests == [monitored.address], "the page must request nothing but itself"
