"""The pictures of the documentation: `python docs/pictures.py` writes them to docs/_static.

- score-flow.svg: a row's way from the upstream file to a cell of the board.
- house.svg: the folders of the package in the order of their imports, as pyproject.toml declares it.
- board.png: the top of leaderboard/index.html as Chromium shows it (with `--board`; needs Chromium and Playwright).
"""

import shutil
import sys
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "docs" / "_static"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"
BLUE, GREY, INK, PAPER = "#0b5c8a", "#5b6670", "#1d2329", "#ffffff"

ROOMS = {
    "cli": "the fin command, a file per verb",
    "doctor": "fin doctor",
    "authoring": "fin task new, JSON Schemas",
    "experiments": "fin run: plan, Snakemake",
    "catalogue": "fin task list, show",
    "checks": "fin task check: the rules",
    "merging": "recipes, adapters, search",
    "training": "from rows to an adapter",
    "board": "result files to tables",
    "evaluation": "fin eval: models on one engine",
    "scoring": "model classes fin_vllm, fin_hf",
    "tasks": "what a task file calls",
    "data": "sources, splits, cards",
    "stats": "metrics, intervals, tests",
    "demo": "the small real model",
    "hardware": "what the CPU can do",
    "compat": "other projects' private names",
    "common": "files, hashes, YAML, console",
}
BANDS = {
    "Command line": ("cli", "doctor"),
    "Lab": ("authoring", "experiments", "catalogue", "checks", "merging", "training", "board"),
    "Core": ("evaluation", "scoring", "tasks", "data", "stats"),
    "Plumbing": ("demo", "hardware", "compat", "common"),
}


def text(x: float, y: float, words: str, size: int = 13, fill: str = INK, more: str = "") -> str:
    """A line of text."""
    return f"<text x='{x}' y='{y}' font-size='{size}' fill='{fill}' {FONT} {more}>{escape(words)}</text>"


def box(x: float, y: float, width: float, height: float, title: str, lines: list[str], fill: str = "#eef4f8") -> str:
    """A box with a title and lines below it."""
    parts = [f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='7' fill='{fill}' stroke='#b9ccd8'/>"]
    parts.append(text(x + 14, y + 23, title, 14, BLUE, "font-weight='600'"))
    parts += [text(x + 14, y + 43 + 18 * number, line) for number, line in enumerate(lines)]
    return "".join(parts)


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    """An arrow from one point to another."""
    return f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='{GREY}' stroke-width='1.6' marker-end='url(#a)'/>"


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    """A whole picture on white."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' aria-label='{escape(title)}'><title>{escape(title)}</title><defs><marker id='a' viewBox='0 0 8 8' "
        f"refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'><path d='M0 0 8 4 0 8z' fill='{GREY}'/></marker>"  # noqa: E501
        f"</defs><rect width='{width}' height='{height}' rx='10' fill='{PAPER}'/>{''.join(parts)}</svg>\n"
    )


def score_flow() -> str:
    """A row's way from the upstream file to a cell."""
    left, wide, half, right = 150, 620, 300, 470
    steps = [
        (20, "data", "Upstream file", ["pinned by commit and sha256, fetched once by fin data fetch"]),
        (105, "data", "Row", ["text, gold label and split, in Parquet; train rows that stand in a test set are dropped,",  # noqa: E501
                              "and the content of every split is hashed"]),
        (210, "tasks", "Prompt", ["the task's YAML: instruction, Sentence: {{text}}, then label: opens the assistant's turn;",  # noqa: E501
                                  "the model's chat template around it"]),
    ]  # fmt: skip
    parts = []
    for y, room, title, lines in steps:
        parts += [text(24, y + 23, room, 12, GREY), box(left, y, wide, 46 + 18 * len(lines), title, lines)]
    parts += [arrow(460, 84, 460, 103), arrow(460, 187, 460, 208)]
    parts += [
        text(24, 338, "scoring", 12, GREY),
        box(left, 315, half, 100, "fin_fomc: likelihood", ["one prefill gives the log-likelihood", "of every label; the likeliest one", "is the answer"]),  # noqa: E501
        box(right, 315, half, 100, "fin_fomc_gen: generation", ["the model writes up to 16 tokens;", "the parser finds one label, or says", "missing or ambiguous"]),  # noqa: E501
        arrow(300, 292, 300, 313), arrow(620, 292, 620, 313), arrow(300, 415, 300, 438), arrow(620, 415, 620, 438),
        text(24, 463, "tasks, stats", 12, GREY),
        box(left, 440, wide, 82, "Result file and sample file", ["gold label and answer of each document; accuracy, weighted F1, macro F1, MCC,",  # noqa: E501
            "each with a bootstrap standard error, in lm-eval's own files"]),
        arrow(460, 522, 460, 545),
        text(24, 570, "board", 12, GREY),
        box(left, 547, wide, 82, "Board", ["every metric is computed again from the answers and must agree with the result file;",  # noqa: E501
            "10,000 draws of the same documents for all models give the interval"]),
        arrow(460, 629, 460, 652),
        f"<rect x='{left + 150}' y='654' width='320' height='46' rx='7' fill='{BLUE}'/>",
        text(left + 310, 683, "53.0 (46.0–60.0), at floor", 17, "#ffffff", "text-anchor='middle' font-weight='600'"),
    ]  # fmt: skip
    return svg(790, 720, "From an upstream row to a cell of the board", parts)


def house() -> str:
    """The folders of the package, from what pyproject.toml lets import what."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    if (known := [room for band in BANDS.values() for room in band]) != layers:
        raise SystemExit(f"docs/pictures.py: pyproject.toml has the layers {layers}, the picture {known}")
    parts, y = [], 20
    for band, rooms in BANDS.items():
        rows = [rooms[at : at + 3] for at in range(0, len(rooms), 3)]
        height = 20 + 62 * len(rows)
        parts.append(f"<rect x='16' y='{y}' width='928' height='{height}' rx='9' fill='#f4f6f8'/>")
        parts.append(text(30, y + 28, band, 14, INK, "font-weight='600'"))
        for number, row in enumerate(rows):
            for column, room in enumerate(row):
                x, top = 150 + 261 * column, y + 12 + 62 * number
                parts.append(box(x, top, 250, 54, room, [ROOMS[room]], PAPER))
        y += height + 12
    parts.append(
        text(30, y + 12, "A folder imports only from folders after it: to the right of it, or below.", 13, GREY)
    )
    return svg(960, y + 30, "The folders of fin_plugins in the order of their imports", parts)


def board() -> None:
    """The top of the board's page, in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": 1480, "height": 900}, color_scheme="light")
        page.goto((ROOT / "leaderboard" / "index.html").as_uri())
        page.wait_for_timeout(500)
        page.get_by_role("heading", name="Real data, by label likelihood").first.scroll_into_view_if_needed()
        top = page.get_by_role("heading", name="Real data, by label likelihood").first.bounding_box()
        clip = {"x": 0, "y": top["y"] - 12, "width": 1480, "height": 500}
        page.set_viewport_size({"width": 1480, "height": int(clip["y"] + clip["height"]) + 20})
        page.screenshot(path=STATIC / "board.png", clip=clip)
        browser.close()


if __name__ == "__main__":
    (STATIC / "score-flow.svg").write_text(score_flow(), encoding="utf-8")
    (STATIC / "house.svg").write_text(house(), encoding="utf-8")
    if "--board" in sys.argv:
        board()
