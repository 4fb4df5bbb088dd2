"""What the page's script gets: answers that can be read back, paired by document whatever the order of a run."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fin_plugins.board.model import Board, Documents
from fin_plugins.board.rendering.embedded import embedded, encode, width_for
from tests.board import boards


def decode(text: str, width: int, alphabet: str) -> list[int]:
    codes = [alphabet.index(sign) for sign in text]
    numbers = [codes[place : place + width] for place in range(0, len(codes), width)]
    return [sum(code * 64 ** (width - 1 - place) for place, code in enumerate(number)) - 3 for number in numbers]


@pytest.mark.parametrize(("labels", "width"), [(0, 1), (2, 1), (61, 1), (62, 2), (4093, 2), (4094, 3)])
def test_any_number_of_labels_has_room(labels: int, width: int) -> None:
    assert width_for(labels) == width
    if labels:
        assert len(encode([0, labels - 1], width)) == 2 * width


def test_answers_of_all_models_stand_in_one_order(made: Board) -> None:
    column = made.columns[0]
    first, second, *others = column.entries
    assert second.documents is not None and first.documents is not None
    turned = second.documents
    turned = Documents(turned.hashes[::-1], turned.gold[::-1].copy(), turned.answers[::-1].copy())
    changed = replace(column, entries=(first, replace(second, documents=turned), *others))
    same, other = (embedded(replace(made, columns=(one, *made.columns[1:])))["columns"][0] for one in (column, changed))
    assert other["answers"] == same["answers"]
    alphabet = embedded(made)["alphabet"]
    # -1 and -2, no label and several, are codes 2 and 1 less than 3: as told in the module.
    assert [code if code >= 0 else -1 - (code + 2) % 2 for code in decode(same["answers"][0], 1, alphabet)] == (
        first.documents.answers.tolist()
    )
    assert decode(same["gold"], 1, alphabet) == first.documents.gold.tolist()


def test_a_document_that_a_model_does_not_have_is_marked(made: Board) -> None:
    column = made.columns[0]
    first = column.entries[0]
    assert first.documents is not None
    fewer = Documents(first.documents.hashes[2:], first.documents.gold[2:], first.documents.answers[2:])
    changed = replace(column, entries=(column.entries[1], replace(first, documents=fewer)))
    shown = embedded(replace(made, columns=(changed, *made.columns[1:])))["columns"][0]
    own = next(answers for model, answers in shown["answers"].items() if answers.startswith("AA"))
    assert len(own) == len(first.documents.hashes) and own.count("A") == 2


def test_texts_are_there_for_wrong_answers_only_and_each_once() -> None:
    board = boards.hostile()
    shown = embedded(board, with_documents=True)
    assert len(set(shown["texts"])) == len(shown["texts"])
    for column, known in zip(board.columns, shown["columns"], strict=True):
        wrong = np.zeros(len(known["texts"]), dtype=bool)
        for number, entry in enumerate(column.entries):
            documents = entry.documents
            if documents is not None:
                mistaken = documents.answers != documents.gold
                wrong |= mistaken
                if documents.replies is not None:
                    replies = known["replies"].get(number, {})
                    assert sorted(replies) == np.flatnonzero(mistaken).tolist()
                    assert all(documents.replies[place] == reply for place, reply in replies.items())
        assert [place is not None for place in known["texts"]] == wrong.tolist()
    assert embedded(board)["texts"] is None and "texts" not in embedded(board)["columns"][0]


def test_the_data_are_plain_json_without_documents_of_others(made: Board) -> None:
    text = json.dumps(embedded(made), allow_nan=False)
    assert len(json.loads(text)["contrasts"]) == len(made.contrasts)
    entry = made.columns[0].entries[0]
    assert entry.documents is not None and entry.documents.hashes[0] not in text
