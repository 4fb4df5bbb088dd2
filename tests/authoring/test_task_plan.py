"""Tables as users have them: `fin task new`, the loader and the checker read them alike, or say which option helps."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from fin_plugins.checks.runner import CheckOptions, check_task_rows, row_facts
from fin_plugins.checks.task_file import load_task_file
from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from fin_plugins.tasks.custom_rows import read_custom_rows
from fin_plugins.tasks.task_config import CustomDatasetConfig

TEXTS = [f"Branch {number} reports {'more' if number % 3 else 'fewer'} overdue loans" for number in range(60)]
WORDS = ["low", "high", "elevated"]
NAMED = ["--text", "memo", "--label", "risk"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fin_plugins.authoring.task_files.find_name_owner", lambda name: None)
    return tmp_path


def write(name: str = "rows.csv", labels: list[Any] = WORDS, size: int = 60, encoding: str = "utf-8") -> None:
    frame = pd.DataFrame({"memo": TEXTS[:size], "risk": [labels[number % len(labels)] for number in range(size)]})
    frame.to_csv(name, index=False, encoding=encoding)


def new(*words: str, data: str = "rows.csv") -> dict[str, Any]:
    done = CliRunner().invoke(fin, ["task", "new", "mine", "--data", data, "--licence", "CC0-1.0", "--json", *words])
    if done.exception is not None:
        raise done.exception
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def dataset_config() -> CustomDatasetConfig:
    text = Path("mine.yaml").read_text(encoding="utf-8").replace("!function ", "")
    return CustomDatasetConfig.model_validate(yaml.safe_load(text)["dataset_kwargs"])


def loaded() -> dict[str, pd.DataFrame]:
    return dict(read_custom_rows(dataset_config(), Path()).frames)


def checked() -> tuple[set[str], str]:
    """The codes of the checker's findings, and its facts about the rows."""
    file = load_task_file(Path("mine.yaml"), "mine.yaml").file
    assert file is not None
    findings, _ = check_task_rows(file, CheckOptions())
    return {finding.code for finding in findings}, " | ".join(row_facts(file, CheckOptions()))


def labels_of(frames: dict[str, pd.DataFrame]) -> set[str]:
    return {label for frame in frames.values() for label in frame["label"]}


def test_a_row_stays_in_its_split_and_in_the_order_when_the_table_grows() -> None:
    write(size=40)
    new(*NAMED)
    before = loaded()
    more = "memo,risk\n" + "".join(f"New memo {number},low\n" for number in range(6))
    unchanged = Path("rows.csv").read_text().split("\n", 1)[1]
    for grown in (Path("rows.csv").read_text() + more.split("\n", 1)[1], more + unchanged):
        Path("rows.csv").write_text(grown)
        after = loaded()
        assert sum(map(len, after.values())) == sum(map(len, before.values())) + 6
        for split, frame in before.items():
            assert [text for text in after[split]["text"] if text in set(TEXTS)] == list(frame["text"])


def test_an_older_file_keeps_its_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    write(size=40)
    new(*NAMED)
    text = Path("mine.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "split_method" not in line and "split_seed" not in line]
    Path("mine.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert {split: len(frame) for split, frame in loaded().items()} == {"train": 28, "validation": 4, "test": 8}
    assert list(loaded()["test"]["id"])[:3] == ["test-00008", "test-00027", "test-00003"]
    assert "split_method: text_hash" in checked()[1]
    from lm_eval.tasks import TaskManager

    for _ in range(2):
        TaskManager(include_defaults=False, include_path=".").load(["mine", "mine_gen"])
    assert len([line for line in caplog.messages if "split_method: text_hash" in line]) == 1


def test_sizes_and_missing_labels_are_reported() -> None:
    write(labels=[*WORDS, *WORDS], size=59)
    with Path("rows.csv").open("a") as file:
        file.write("A forged signature,fraud\n")
    summary = new(*NAMED)
    fraud_split = next(split for split, frame in loaded().items() if "fraud" in set(frame["label"]))
    for split in {"train", "validation", "test"} - {fraud_split}:
        assert any(f"no {split} row has the label fraud (1 in all)" in note for note in summary["notes"])
        assert f"{split} {summary['splits'][split]} (none of fraud)" in checked()[1]
    assert summary["splits"] == {split: len(frame) for split, frame in loaded().items()}


def test_a_better_seed_is_suggested_but_not_used_by_itself() -> None:
    write(size=3)
    with pytest.raises(FinError, match=r"--split-seed (\d+)") as error:
        new(*NAMED)
    seed = re.search(r"--split-seed (\d+)", str(error.value))[1]  # type: ignore[index]
    summary = new(*NAMED, "--split-seed", seed)
    assert set(summary["splits"].values()) == {1} and dataset_config().split_seed == int(seed)


def test_a_new_task_for_a_grown_table_keeps_the_splits() -> None:
    write(size=40)
    new(*NAMED)
    before = loaded()
    write(size=46)
    new(*NAMED, "--force")
    after = loaded()
    assert all(set(frame["text"]) <= set(after[split]["text"]) for split, frame in before.items())


def test_blanks_before_quotes() -> None:
    Path("rows.csv").write_text(
        "memo, risk\n" + "".join(f'"{text}", "{WORDS[n % 3]}"\n' for n, text in enumerate(TEXTS))
    )
    assert set(new(*NAMED)["labels"]) == set(WORDS) == labels_of(loaded())


def test_a_workbook_with_two_sheets() -> None:
    write()
    with pd.ExcelWriter("rows.xlsx") as book:
        pd.DataFrame({"Read me": ["rows are on the other sheet"]}).to_excel(book, sheet_name="Notes", index=False)
        pd.read_csv("rows.csv").to_excel(book, sheet_name="Data", index=False)
    with pytest.raises(FinError, match=r"Notes .*Data .*--sheet Data"):
        new(*NAMED, data="rows.xlsx")
    assert new(*NAMED, "--sheet", "Data", data="rows.xlsx")["rows"] == 60
    assert dataset_config().sheet == "Data" and labels_of(loaded()) == set(WORDS) and checked()[0] <= {"D09"}


def test_nested_json_has_paths_and_an_object_is_no_label() -> None:
    rows = [{"doc": {"text": text, "id": n}, "note": {"risk": WORDS[n % 3]}} for n, text in enumerate(TEXTS)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(FinError, match=r"holds objects: .*--label note\.risk"):
        new("--text", "doc.text", "--label", "note", data="rows.jsonl")
    summary = new("--yes", data="rows.jsonl")
    assert (summary["text"], summary["label"]) == ("doc.text", "note.risk") and set(summary["labels"]) == set(WORDS)
    assert {text for frame in loaded().values() for text in frame["text"]} == set(TEXTS) and checked()[0] <= {"D09"}


def test_labels_in_lists() -> None:
    rows = [{"memo": text, "risk": [WORDS[n % 3]]} for n, text in enumerate(TEXTS)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(FinError, match=r"lists .*--label risk\.0"):
        new(*NAMED, data="rows.jsonl")
    assert set(new("--text", "memo", "--label", "risk.0", data="rows.jsonl")["labels"]) == set(WORDS)
    assert labels_of(loaded()) == set(WORDS) and checked()[0] <= {"D09"}


def test_a_label_that_means_missing() -> None:
    write(labels=[*WORDS, "N/A"])
    assert any("N/A (15 rows)" in note and "--drop-label N/A" in note for note in new(*NAMED)["notes"])
    summary = new(*NAMED, "--drop-label", "N/A", "--force")
    assert set(summary["labels"]) == set(WORDS) and sum(summary["splits"].values()) == 45
    assert dataset_config().drop_labels == ["N/A"] and sum(map(len, loaded().values())) == 45
    assert "D03" not in checked()[0] and "15 are left out for their label" in checked()[1]
    with pytest.raises(FinError, match=r"--drop-label N/a: no such label"):
        new(*NAMED, "--drop-label", "N/a", "--force")


def test_rows_without_a_label_can_be_left_out() -> None:
    write(labels=[*WORDS, ""])
    with pytest.raises(FinError, match=r"no label.*--drop-label ''"):
        new(*NAMED)
    assert sum(new(*NAMED, "--drop-label", "")["splits"].values()) == 45 == sum(map(len, loaded().values()))


def test_labels_that_differ_in_case_are_merged_and_the_checker_agrees() -> None:
    write(labels=["Low", "LOW", "low", "high"])
    with pytest.raises(FinError, match=r"LOW.*--alias LOW=low"):
        new(*NAMED)
    assert new(*NAMED, "--alias", "LOW=low")["labels"] == {"high": 15, "low": 45}
    assert (
        set(dataset_config().words) == {"low", "high"}
        and labels_of(loaded()) == {"low", "high"}
        and checked()[0] <= {"D09"}
    )
    assert CliRunner().invoke(fin, ["task", "check", "mine.yaml", "--ignore", "D09"]).exit_code == 0


@pytest.mark.parametrize("labels", [[0, 1], [True, False], ["yes", "no"], ["a", "b"]])
def test_uninformative_labels(labels: list[Any]) -> None:
    write(labels=labels)
    assert any(f"--alias {labels[0]}=" in note for note in new(*NAMED)["notes"])
    words = ["--alias", f"{labels[0]}=calm", "--alias", f"{labels[1]}=tense"]
    assert not any("at random" in note for note in new(*NAMED, *words, "--force")["notes"])


def test_encodings() -> None:
    write(labels=["niedrig", "erhöht"], encoding="latin-1")
    with pytest.raises(FinError, match=r"line 3: not UTF-8.*--encoding"):
        new(*NAMED)
    assert set(new(*NAMED, "--encoding", "latin-1")["labels"]) == {"niedrig", "erhöht"}
    assert (
        dataset_config().encoding == "latin-1"
        and labels_of(loaded()) == {"niedrig", "erhöht"}
        and checked()[0] <= {"D09"}
    )
    write(labels=["niedrig", "erhöht"], encoding="utf-16")
    assert set(new(*NAMED, "--force")["labels"]) == {"niedrig", "erhöht"} and dataset_config().encoding is None


def test_a_line_that_names_the_separator_and_separators_in_headers() -> None:
    rows = "".join(f'"{text}, and more";"{WORDS[n % 3]}"\n' for n, text in enumerate(TEXTS))
    Path("rows.csv").write_text(f"sep=;\nmemo;risk\n{rows}")
    assert set(new(*NAMED)["labels"]) == set(WORDS)
    Path("rows.csv").write_text(f'"memo, long";"risk, in, words"\n{rows}')
    assert set(new("--text", "memo, long", "--label", "risk, in, words", "--force")["labels"]) == set(WORDS)
    assert labels_of(loaded()) == set(WORDS)


def test_a_label_that_begins_another() -> None:
    write(labels=["risk", "risk high", "calm"])
    assert any("risk high begins with label risk" in note for note in new(*NAMED)["notes"])


def test_rows_without_text() -> None:
    write()
    Path("rows.csv").write_text(Path("rows.csv").read_text() + "  ,low\n,high\n")
    summary = new(*NAMED)
    assert "2 rows have no text and are left out" in summary["notes"] and sum(summary["splits"].values()) == 60
    assert f"train {summary['splits']['train']}" in checked()[1]


def test_many_labels_and_too_many() -> None:
    labels = [f"intent {number:03d} of them" for number in range(77)]
    pd.DataFrame({"memo": [f"Please help with {n}" for n in range(770)], "risk": labels * 10}).to_csv("rows.csv")
    summary = new(*NAMED)
    assert len(summary["labels"]) == 77 and any("77 labels" in note for note in summary["notes"])
    prompt = yaml.safe_load(Path("mine.yaml").read_text().replace("!function ", ""))["doc_to_text"]
    assert all(prompt.count(label) == 1 for label in labels)
    with pytest.raises(FinError, match="770 different values: a label column has 2 to 500"):
        new("--text", "risk", "--label", "memo", "--force")


def test_all_rows_to_test_on() -> None:
    write()
    assert new(*NAMED, "--test", "1.0")["splits"] == {"test": 60} == {"test": len(loaded()["test"])}
    assert checked()[0] == set() and "training_split" not in Path("mine.yaml").read_text()
    with pytest.raises(FinError, match="no rows to train on"):
        new(*NAMED, "--test", "1", "--seen", "--force")
