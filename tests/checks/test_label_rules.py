"""An instruction may name the labels in many ways."""

from pathlib import Path

import pytest

from tests.checks.check_helpers import row_codes, write, write_row_task


@pytest.mark.parametrize(
    "instruction",
    [
        "Is it a refund, a delivery or praise?",
        "Label it REFUND if money is asked for, DELIVERY if it is about a parcel, or PRAISE if it is thanks.",
        "What does the customer want? Answer briefly and politely.",
        "Answer with 'refund', 'delivery' or 'praise', and with nothing else.",
        "Is money to be paid back, or is it something else? One word: refund/delivery/praise.",
    ],
)
def test_complete_instructions(instruction: str, news_folder: Path) -> None:
    assert row_codes(write_row_task(doc_to_text=f'"{instruction} {{{{text}}}}"')) == []


def test_an_alias_names_its_label(news_folder: Path) -> None:
    name = write_row_task(doc_to_text='"Is it money, delivery or praise? {{text}}"')
    assert row_codes(name) == ["P07"]
    text = Path(name).read_text(encoding="utf-8").replace("  labels:", "  aliases: {refund: [money]}\n  labels:")
    assert row_codes(write(name, text)) == []
