"""`board.json`: all of the board but documents, in strict JSON."""

import json
from dataclasses import asdict, replace

from fin_plugins.board.model import Board, Estimate
from fin_plugins.board.rendering.plain import plain
from tests.board import boards


def test_all_of_the_board_is_there(made: Board) -> None:
    read = json.loads(plain(made))
    assert [column["key"] for column in read["columns"]] == [column.key for column in made.columns]
    assert {(cell["column"], cell["model"]) for cell in read["cells"]} == set(made.cells)
    for cell in read["cells"]:
        own = made.cells[cell["column"], cell["model"]]
        assert cell["figures"] == {name: asdict(estimate) for name, estimate in own.figures.items()}
        assert cell["confusion"] == (None if own.confusion is None else own.confusion.tolist())
        assert cell["conditions"]["data"] in ("real", "sample") and cell["source"]["harness"] == "0.4.12"
    for part in ("means", "ranks", "contrasts", "forgetting", "published", "problems", "older"):
        assert len(read[part]) == len(getattr(made, part)) > 0
    assert read["contrasts"][0] == asdict(made.contrasts[0])
    assert read["tests"] == made.tests


def test_no_document_is_in_it() -> None:
    board = boards.hostile()
    text = plain(board)
    documents = board.columns[0].entries[0].documents
    assert documents is not None and documents.texts is not None
    assert "Document 1 of" not in text and documents.hashes[0] not in text and "I say" not in text


def test_what_is_not_a_number_is_null(made: Board) -> None:
    odd = replace(made.means[0], figures={"acc": Estimate(float("nan"), float("-inf"), 1.0)})
    read = json.loads(plain(replace(made, means=(odd,))))
    assert read["means"][0]["figures"]["acc"] == {"value": None, "low": None, "high": 1.0}
