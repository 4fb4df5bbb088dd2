"""What is looked at, what is not, and that it is said."""

from pathlib import Path

import pytest

from fin_plugins.checks.model import Options
from fin_plugins.checks.read import read_task_file
from fin_plugins.checks.rows import RULES, check
from fin_plugins.common.errors import FinError
from tests.checks.rows.checking import FAULTS, findings

TASK = (FAULTS / "_task").read_text(encoding="utf-8")
ROWS = (FAULTS / "data" / "rows.csv").read_text(encoding="utf-8").splitlines()
GIVEN = "dataset_kwargs:\n  file: {file}\n  columns: {{text: message, label: want}}\n  labels: {labels}\n  {splits}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def task(lines: list[str] | None = None, labels="[refund, delivery, praise]", **more: str):
    Path("rows.csv").write_text("\n".join(lines or ROWS) + "\n", encoding="utf-8")
    given = GIVEN.format(file="rows.csv", labels=labels, splits="splits: {test: 0.4}")
    added = "".join(f"{key}: {value}\n" for key, value in more.items())
    Path("one.yaml").write_text(f"{TASK}task: one\n{given}{added}", encoding="utf-8")
    return "one.yaml"


def codes(name: str, options: Options | None = None) -> list[str]:
    return [one.code for one in findings(name, options)[0]]


def test_nothing_is_wrong_with_the_task_that_the_faults_are_made_from():
    assert findings(task()) == ([], None)


def test_codes_are_told_apart_and_explained():
    assert len({rule.code for rule in RULES}) == len(RULES)
    assert all(rule.title and len(rule.why) > 40 for rule in RULES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset_path: owner/letters\n", "hub data set owner/letters is not downloaded"),
        ("custom_dataset: !function somewhere.load\n", "they come from somewhere.load"),
        ("dataset_path: csv\ndataset_kwargs: {data_files: https://example.org/a.csv}\n", "does not follow"),
        ("dataset_path: json\ndataset_kwargs: {data_files: a.json, field: rows}\n", "does not follow"),
    ],
)
def test_rows_that_are_not_looked_at_are_noted(text, said):
    Path("one.yaml").write_text(f"task: one\ntest_split: test\n{text}", encoding="utf-8")
    found, note = findings("one.yaml")
    assert found == []
    assert note is not None and said in note


def test_a_hub_data_set_is_noted():
    name = task()
    text = Path(name).read_text(encoding="utf-8").replace("file: rows.csv", "hub: owner/letters")
    Path(name).write_text(text, encoding="utf-8")
    assert findings(name) == ([], "rows not looked at: the hub data set owner/letters is not downloaded for a check")


def test_without_rows_the_template_is_still_looked_at():
    name = task(["message,want"], doc_to_text='"What is it: {{text"')
    assert codes(name, Options(look_at_rows=False)) == ["P02"]


def test_groups_and_python_tasks_give_nothing():
    Path("group.yaml").write_text("group: all\ntask: [one]\n", encoding="utf-8")
    Path("python.yaml").write_text("task: one\nclass: !function somewhere.Task\n", encoding="utf-8")
    assert findings("group.yaml") == findings("python.yaml") == ([], None)


def test_a_file_that_was_mended_is_read_again():
    assert codes(task([*ROWS, "Where is it?,delivry,north"])) == ["D03"]
    assert codes(task([*ROWS, "Where is it?,delivery,north"])) == []


def test_numbers_with_a_gap_are_the_listed_ones():
    number = {"refund": "0", "delivery": "1.0", "praise": " 2 "}
    lines = [ROWS[0], *(",".join([line.rsplit(",", 2)[0], number[line.rsplit(",", 2)[1]], "x"]) for line in ROWS[1:])]
    assert codes(task(lines, labels='{"0": refund, "1": delivery, "2": praise}')) == []


def test_a_share_of_torn_texts_below_the_threshold_is_no_finding():
    texts = [f'"Note {number} on the {word}.",{word},north' for number in range(60) for word in ("refund", "praise")]
    torn = '"Note 0 on the refund.",praise,north'
    more = {"doc_to_text": '"Refund or praise? {{text}}"'}
    files = "[refund, praise]"
    assert codes(task([ROWS[0], *texts, torn], files, **more)) == []
    assert set(codes(task([ROWS[0], *texts, *([torn] * 12)], files, **more))) == {"D07"}


def test_a_label_in_the_text_and_a_list_of_labels_are_no_answer():
    lines = [*ROWS, "This is praise and no refund.,praise,north"]
    assert codes(task(lines, doc_to_text='"Which of {{choices}}? {{text}}"')) == []


def test_a_template_may_ask_whether_a_column_is_there():
    text = '"Refund, delivery or praise? {{text}}{% if shop is defined %} ({{shop}}){% endif %}"'
    assert codes(task(doc_to_text=text)) == []


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
def test_instructions_that_are_right(instruction):
    assert codes(task(doc_to_text=f'"{instruction} {{{{text}}}}"')) == []


def test_an_alias_names_its_label():
    name = task(doc_to_text='"Is it money, delivery or praise? {{text}}"')
    assert codes(name) == ["P07"]
    text = Path(name).read_text(encoding="utf-8").replace("  labels:", "  aliases: {refund: [money]}\n  labels:")
    Path(name).write_text(text, encoding="utf-8")
    assert codes(name) == []


def test_a_local_folder_in_hub_form_is_read(folder):
    import pandas as pd

    data = folder / "letters"
    data.mkdir()
    frame = pd.read_csv(FAULTS / "data" / "rows.csv").replace({"want": {"refund": "refnd"}})
    frame.iloc[:18].to_parquet(data / "train-00000.parquet")
    frame.iloc[18:].to_parquet(data / "test-00000.parquet")
    name = task()
    text = Path(name).read_text(encoding="utf-8").replace("file: rows.csv", "hub: ./letters")
    Path(name).write_text(text.replace("splits: {test: 0.4}", ""), encoding="utf-8")
    found, note = findings(name)
    assert [one.code for one in found] == ["D03"] and note is None


def test_a_tokenizer_that_is_not_there(folder):
    name = task()
    with pytest.raises(FinError, match=r"--tokenizer \./nowhere: cannot be loaded .*: name a model's folder"):
        findings(name, Options(tokenizer="./nowhere"))


def test_a_training_file_gives_nothing():
    Path("run.yaml").write_text("model: demo\ntasks: [fin_fomc]\n", encoding="utf-8")
    file = read_task_file(Path("run.yaml"), "run.yaml").file
    assert file is not None and check(file, Options()) == ([], None)
