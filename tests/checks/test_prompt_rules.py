"""Templates that look suspicious but are right."""

from pathlib import Path

from tests.checks.check_helpers import ROWS, row_codes, write_row_task


def test_a_label_in_the_text_and_a_list_of_labels_do_not_show_the_answer(news_folder: Path) -> None:
    lines = [*ROWS, "This is praise and no refund.,praise,north"]
    assert row_codes(write_row_task(lines, doc_to_text='"Which of {{choices}}? {{text}}"')) == []


def test_a_template_may_test_for_a_column(news_folder: Path) -> None:
    text = '"Refund, delivery or praise? {{text}}{% if shop is defined %} ({{shop}}){% endif %}"'
    assert row_codes(write_row_task(doc_to_text=text)) == []
