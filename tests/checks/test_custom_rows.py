"""A user's own tables are read as the loader reads them."""

from pathlib import Path

import pandas as pd

from tests.checks.check_helpers import ROW_FAULTS, ROWS, row_codes, row_findings, write_row_task


def test_a_good_task(news_folder: Path) -> None:
    assert row_findings(write_row_task()) == ([], None)


def test_a_corrected_file_is_read_again(news_folder: Path) -> None:
    assert row_codes(write_row_task([*ROWS, "Where is it?,delivry,north"])) == ["D03"]
    assert row_codes(write_row_task([*ROWS, "Where is it?,delivery,north"])) == []


def test_numbers_with_a_gap_are_the_listed_ones(news_folder: Path) -> None:
    numbers = {"refund": "0", "delivery": "1.0", "praise": " 2 "}
    cells = [line.rsplit(",", 2) for line in ROWS[1:]]
    lines = [ROWS[0], *(f"{text},{numbers[label]},x" for text, label, _ in cells)]
    assert row_codes(write_row_task(lines, labels='{"0": refund, "1": delivery, "2": praise}')) == []


def test_a_local_folder_in_hub_form(news_folder: Path) -> None:
    (news_folder / "letters").mkdir()
    frame = pd.read_csv(ROW_FAULTS / "data" / "rows.csv").replace({"want": {"refund": "refnd"}})
    frame.iloc[:18].to_parquet(news_folder / "letters" / "train-00000.parquet")
    frame.iloc[18:].to_parquet(news_folder / "letters" / "test-00000.parquet")
    findings, note = row_findings(write_row_task(source="hub: ./letters", splits=""))
    assert [finding.code for finding in findings] == ["D03"] and note is None
