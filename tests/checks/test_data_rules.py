"""Rules on rows that have a threshold."""

from pathlib import Path

from tests.checks.check_helpers import ROWS, row_codes, write_row_task


def test_a_small_share_of_conflicting_labels_is_accepted(news_folder: Path) -> None:
    rows = [f'"Note {number} on the {word}.",{word},north' for number in range(60) for word in ("refund", "praise")]
    conflict = '"Note 0 on the refund.",praise,north'

    def codes(lines: list[str]) -> set[str]:
        template = '"Refund or praise? {{text}}"'
        return set(row_codes(write_row_task([ROWS[0], *lines], "[refund, praise]", doc_to_text=template)))

    assert codes([*rows, conflict]) == set()
    assert codes([*rows, *([conflict] * 12)]) == {"D07"}
