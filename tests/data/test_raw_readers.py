"""Every reader on a small synthetic file of its upstream format."""

import json
import zipfile

import openpyxl

from fin_plugins.data import raw_readers


def pairs(frame):
    return list(zip(frame["text"], frame["label"], strict=True))


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_phrasebank_is_latin_1_and_splits_at_the_last_at(tmp_path):
    path = tmp_path / "s.txt"
    path.write_bytes("Mail ir@nokkö.fi for more .@neutral\r\nProfit rose .@positive\r\n".encode("latin-1"))
    assert pairs(raw_readers.read_phrasebank(path)) == [
        ("Mail ir@nokkö.fi for more .", "neutral"),
        ("Profit rose .", "positive"),
    ]


def test_fiqa_keeps_one_of_ten_prompts(tmp_path):
    def prompt(n):
        text = f"post {n // 10}\nText: inside"
        return [{"value": f"ask {n}\nText: {text}\nAnswer:"}, {"value": "Negative" if n < 10 else "Positive"}]

    path = lines(tmp_path / "f.jsonl", [{"conversations": prompt(n)} for n in range(20)])
    assert pairs(raw_readers.read_fiqa(path)) == [
        ("post 0\nText: inside", "negative"),
        ("post 1\nText: inside", "positive"),
    ]


def test_headlines_take_up_before_down_before_stable(tmp_path):
    path = tmp_path / "h.csv"
    rows = ["a,1,0,1,1", '"b, too",1,1,0,1', "c,1,0,0,0", "d,0,1,0,0", "e,1,0,1,0"]
    path.write_text("\n".join(["News,PriceOrNot,DirectionUp,DirectionConstant,DirectionDown", *rows]))
    assert pairs(raw_readers.read_headlines(path)) == [("a", "down"), ("b, too", "up"), ("e", "stable")]


def test_fomc_reads_the_sheet(tmp_path):
    book = openpyxl.Workbook()
    for row in [
        ("index", "sentence", "year", "label", "orig_index"),
        (7, "Rates up.", 1999, 1, 3),
        (8, "So.", 1, 2, 4),
    ]:
        book.active.append(row)
    book.save(tmp_path / "f.xlsx")
    assert pairs(raw_readers.read_fomc(tmp_path / "f.xlsx")) == [("Rates up.", "hawkish"), ("So.", "neutral")]


def test_argument_train_and_dev(tmp_path):
    train = lines(tmp_path / "t", [{"sentence": "We lead.", "classification": 1}])
    dev = lines(tmp_path / "d", [{"First row.": "Second\u2028row.", "0": 1}, {"First row.": "Third row.", "0": 0}])
    assert pairs(raw_readers.read_argument_train(train)) == [("We lead.", "claim")]
    expected = [("First row.", "premise"), ("Second\u2028row.", "claim"), ("Third row.", "premise")]
    assert pairs(raw_readers.read_argument_dev(dev)) == expected


def test_argument_test_takes_gold_from_the_annotations(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"sentence": "We’re up 4%."}, {"sentence": "Costs fell."}]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/1.ann", "a1 CLAIM-Opinion(view) 0 9 we're UP 4 %\nb2 NON-ARG 3 4 Costs fell.\n")
        archive.writestr("x/2.ann", "c3 PREMISE-Fact 0 9 Costs fell.\n")
        archive.writestr("x/1.json", "a1 CLAIM 0 1 Costs fell.\n")
    gold = raw_readers.read_argument_test(path, tmp_path / "a.zip")
    # The apostrophe and the blank before % do not count.
    assert pairs(gold) == [("We’re up 4%.", "claim"), ("Costs fell.", "premise")]


def test_deal(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps([{"ID": 1, "Instruction": "i", "Text": " It closed. ", "Answer": "Complete"}]))
    assert pairs(raw_readers.read_deal(path)) == [("It closed.", "complete")]


def test_causal_splits_at_the_first_and_last_semicolon(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text('Index; Text; Gold\n1.1; one; "two; three; 1\n1.2; four; 0\n')
    assert pairs(raw_readers.read_causal(path)) == [('one; "two; three', "causal"), ("four", "noise")]


def test_finred_one_row_a_triplet_and_bars_in_the_sentence(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("Acme | news | Acme ; Jo ; director_/_manager | Acme ; tin ; product_or_material_produced\n\n")
    rows = raw_readers.read_finred(path)
    assert rows.to_dict("records") == [
        {"text": "Acme | news", "label": "director/manager", "e1": "Acme", "e2": "Jo"},
        {"text": "Acme | news", "label": "product/material produced", "e1": "Acme", "e2": "tin"},
    ]
