"""Tables of every format come out the same, as text; an error is one line that says where."""

import csv
import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.data.tables import ENDINGS, cell_text, read_table

ROWS = {"text": ["Sales rose, again", "Küche „zu“\nfür heute", "NA"], "label": ["up", "None", "0"]}


def save(frame: pd.DataFrame, path: Path) -> Path:
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".json":
            frame.to_json(path, orient="records", force_ascii=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, force_ascii=False)
        case ".parquet":
            frame.to_parquet(path)
        case ".xlsx":
            frame.to_excel(path, index=False)
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_reads_the_same(ending: str, tmp_path: Path) -> None:
    read = read_table(save(pd.DataFrame(ROWS), tmp_path / f"rows{ending}"))
    assert read.to_dict("list") == ROWS


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending not in (".csv", ".tsv")])
def test_integers_with_a_gap_have_no_decimal_point(ending: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [0, None, 2]})
    assert frame["label"].dtype == float
    assert list(read_table(save(frame, tmp_path / f"rows{ending}"))["label"]) == ["0", "", "2"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (float("nan"), ""), (True, "true"), (1.0, "1"), (0.5, "0.5"), (7, "7"), (["ä"], '["ä"]'), ("", "")],
)
def test_cells(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_semicolons_as_excel_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes('\ufefftext;label\r\n"1,5; 2";up\r\n\r\nb;down\r\n'.encode())
    assert read_table(file).to_dict("list") == {"text": ["1,5; 2", "b"], "label": ["up", "down"]}


@pytest.mark.parametrize(
    "text",
    [
        'text, label\n"Up, and up", "rise"\n"Down", "fall"\n',
        'sep=;\r\ntext;label\r\n"Up, and up";rise\r\nDown;fall\r\n',
        '"sep=|"\ntext|label\nUp, and up|rise\nDown|fall\n',
        "\ufefftext\tlabel\nUp, and up\trise\nDown\tfall\n",
    ],
)
def test_quotes_after_a_space_and_a_line_that_names_the_delimiter(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text, encoding="utf-8", newline="")
    assert read_table(file).to_dict("list") == {"text": ["Up, and up", "Down"], "label": ["rise", "fall"]}


def test_delimiters_inside_quoted_headers_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('"text, long";"label, x, y"\n"Up, and up";"rise"\n')
    assert read_table(file).to_dict("list") == {"text, long": ["Up, and up"], "label, x, y": ["rise"]}
    file.write_text("sep=;\ntext;label\na;b;c\n")
    with pytest.raises(FinError, match="line 3: 3 cells"):
        read_table(file)


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-16", None), ("utf-32", None), ("utf-8-sig", None), ("latin-1", "latin-1"), ("utf-16-le", "utf-16-le")],
)
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
def test_encodings_by_byte_order_mark_or_by_name(encoding: str, named: str | None, ending: str, tmp_path: Path) -> None:
    file = save(pd.DataFrame({"text": ["Küche für heute"], "label": ["gut"]}), tmp_path / f"rows{ending}")
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    assert read_table(file, encoding=named)["text"][0] == "Küche für heute"


def test_a_wrong_or_missing_encoding(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes("text,label\nKüche,gut\n".encode("cp1252"))
    with pytest.raises(FinError, match=r"line 2: not UTF-8.*--encoding cp1252.*encoding: cp1252"):
        read_table(file)
    for name in ("no-such", "rot13"):
        with pytest.raises(FinError, match=f"encoding {name}"):
            read_table(file, encoding=name)
    file.write_bytes("text,label\nKüche,gut\n".encode("utf-16-le"))
    with pytest.raises(FinError, match="UTF-16"):
        read_table(file, encoding=None)
    with pytest.raises(FinError, match="encoding cp1252: only"):
        read_table(save(pd.DataFrame(ROWS), tmp_path / "rows.xlsx"), encoding="cp1252")


def book(path: Path, **sheets: list[list[object]]) -> Path:
    from openpyxl import Workbook

    made = Workbook()
    made.remove(made.active)  # type: ignore[arg-type]
    for title, rows in sheets.items():
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


TABLE: list[list[object]] = [["text", "label"], ["a", 1], ["b", None]]


def test_the_only_sheet_with_rows_is_read_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    read = {"text": ["a", "b"], "label": ["1", ""]}
    assert read_table(book(tmp_path / "one.xlsx", Empty=[], Data=TABLE)).to_dict("list") == read
    two = book(tmp_path / "two.xlsx", Notes=[["Read me"]], Data=TABLE)
    with pytest.raises(FinError, match=r"Notes \(1 lines\), Data \(3 lines\).*`--sheet Data`"):
        read_table(two)
    assert read_table(two, sheet="Data").to_dict("list") == read
    with pytest.raises(FinError, match=r"no sheet 'Dta' \(did you mean Data\?\); there are Notes, Data"):
        read_table(two, sheet="Dta")
    with pytest.raises(FinError, match="only XLSX files have sheets"):
        read_table(save(pd.DataFrame(ROWS), tmp_path / "rows.csv"), sheet="Data")


def test_objects_may_have_missing_keys(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n\n{"label": 1, "text": "b"}\r\n')
    assert read_table(file).to_dict("list") == {"text": ["a", "b"], "label": ["", "1"]}


BROKEN = [
    ("rows.csv", b"text,label\na,up\nb,c,down\n", r"rows\.csv: line 3: 3 cells where the first line has 2"),
    ("rows.csv", b'text,label\na,up\n"b,down\n', r"line 3: broken .*double quote missing"),
    ("rows.csv", b"text,label\n", "no rows in it"),
    ("rows.csv", b"", "no rows in it"),
    ("rows.csv", b"text,text\na,b\n", "two columns are called 'text'"),
    ("rows.csv", "text,label\nKüche,up\n".encode("latin-1"), "line 2: not UTF-8.*CSV UTF-8"),
    ("rows.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2: .*Expecting value at character 10"),
    ("rows.jsonl", b"[1]\n", "line 1: not an object"),
    ("rows.jsonl", rb'{"text": "\ud800"}', "row 1, column 'text'"),
    ("rows.json", b'{"text": "a"}', "must be a list of objects"),
    ("rows.json", b'[{"text": "a"},\n{"text" "b"}]', "rows.json, line 2"),
    ("rows.json", b"[" * 100_000, "JSON"),
    ("rows.json", b"[]", "no rows in it"),
    ("rows.parquet", b"PAR1 and no more", "Parquet"),
    ("rows.xlsx", b"PK and no more", "XLSX"),
    ("rows.xls", b"", r"\.csv, .*\.xlsx"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_an_error_is_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(FinError, match=message) as caught:
        read_table(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FinError, match="no such file"):
        read_table(tmp_path / "rows.csv")
    with pytest.raises(FinError, match="a folder"):
        read_table(tmp_path / "folder.csv")


@settings(max_examples=150, deadline=None)
@example(".xlsx", b"PK\x03\x04")
@given(st.sampled_from(ENDINGS), st.binary(max_size=200))
def test_any_bytes_give_a_table_or_a_one_line_error(ending: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows{ending}"
        file.write_bytes(content)
        try:
            assert len(read_table(file))
        except FinError as error:
            assert "\n" not in str(error)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"])
)
def test_written_tables_are_read_back(rows: list[tuple[str, str]], ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows{ending}"
        if ending == ".jsonl":
            lines = [json.dumps({"text": a, "label": b}, ensure_ascii=False) for a, b in rows]
            file.write_text("\n".join(lines), encoding="utf-8", newline="")
        elif ending == ".parquet":
            pd.DataFrame(rows, columns=["text", "label"]).to_parquet(file)
        else:
            with file.open("w", encoding="utf-8", newline="") as out:
                kind = csv.excel_tab if ending == ".tsv" else csv.excel
                csv.writer(out, dialect=kind, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
        read = read_table(file)
        assert list(zip(read["text"], read["label"], strict=True)) == rows
