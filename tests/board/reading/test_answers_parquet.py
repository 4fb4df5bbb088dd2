"""Exported answers: round trips, refusal of anything but hashes and labels, and damaged files."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.board.board_data import Documents
from fin_plugins.board.reading import answers_parquet
from fin_plugins.board.reading.answers_parquet import (
    AnswerRows,
    ExportedRun,
    decode_answers,
    encode_answers,
    format_export,
    read_export,
)
from fin_plugins.board.reading.json_utils import UnusableFile
from fin_plugins.common.errors import FinError

HASHES = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
LABELS = ("complete", "rumour")
HASH = "a" * 64
ROWS = AnswerRows((HASH, f"{HASH}#2"), LABELS, ("rumour", "(missing)"))
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
NAMES = TEXTS.filter(str.isprintable)


def documents(rows: list[tuple[str, int, int]]) -> Documents:
    hashes, gold, answers = zip(*rows, strict=True)
    return Documents(hashes, np.array(gold), np.array(answers))


@given(
    st.lists(st.tuples(HASHES, st.integers(0, 1), st.integers(-2, 1)), min_size=1, unique_by=lambda row: row[0]),
    st.lists(TEXTS, min_size=2, max_size=2, unique=True),
)
def test_answers_round_trip(rows: list[tuple[str, int, int]], labels: list[str]) -> None:
    exported = documents(rows)
    answers = decode_answers(encode_answers(exported, tuple(labels)), tuple(labels), len(rows))
    assert answers.hashes == exported.hashes
    assert answers.gold.tolist() == exported.gold.tolist()
    assert answers.answers.tolist() == exported.answers.tolist()


@st.composite
def task_rows(draw: st.DrawFn) -> AnswerRows:
    rows = draw(st.lists(st.tuples(HASHES, TEXTS, TEXTS), min_size=1, max_size=4))
    return AnswerRows(*zip(*rows, strict=True))


RUNS = st.builds(
    ExportedRun,
    st.dictionaries(TEXTS, TEXTS | st.integers(0, 9) | st.lists(TEXTS, max_size=2), max_size=2),
    st.dictionaries(TEXTS, task_rows(), max_size=3),
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, RUNS, min_size=1, max_size=3), st.integers(0, 9))
def test_files_round_trip(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, ExportedRun], seed: int) -> None:
    content = format_export(runs)
    file = tmp_path_factory.getbasetemp() / "round_trip.parquet"
    file.write_bytes(content)
    assert read_export(file) == (runs, [])
    names = list(runs)
    random.Random(seed).shuffle(names)
    assert format_export({name: runs[name] for name in names}) == content


def test_only_hashes_are_written() -> None:
    with pytest.raises(FinError, match="not a document hash"):
        encode_answers(documents([("The bank raised its rates again.", 0, 0)]), LABELS)


@pytest.mark.parametrize("labels", [("(missing)", "b"), ("a", "a")])
def test_ambiguous_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(FinError, match="labels"):
        encode_answers(documents([(HASH, 0, 0)]), labels)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "0 of 2"),
        ([(HASH, "complete", "rumo")] * 2, "answer 1 "),
        ([(HASH, "(missing)", "complete")] * 2, "answer 1 "),
        ([(HASH, "complete", "complete"), ("A sentence.", "complete", "complete")], "answer 2 "),
        ([(HASH, "complete", "complete")] * 2, "twice"),
        ([(HASH, "complete", "complete")] * 3, "3 of 2"),
        ([(HASH, "complete", "comp\x00lete")] * 2, "answer 1 "),
    ],
)
def test_unusable_answers(rows: list[tuple[str, str, str]], message: str) -> None:
    columns = zip(*rows, strict=True) if rows else [(), (), ()]
    with pytest.raises(UnusableFile, match=message):
        decode_answers(AnswerRows(*columns), LABELS, 2)


def good_content() -> bytes:
    return format_export({"m/results.json": ExportedRun({"a": 1}, {"t": ROWS})})


def rewritten(
    change: Callable[[pa.Table], pa.Table] = lambda table: table, metadata: Any = None, **options: Any
) -> bytes:
    """A file with a changed table or changed metadata."""
    file = pq.ParquetFile(pa.BufferReader(good_content()))
    text = file.metadata.metadata[b"fin_board"] if metadata is None else metadata
    table = change(file.read()).replace_schema_metadata({"fin_board": text} if text else None)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def with_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    column = pa.field(name, values.type, nullable=values.null_count > 0)
    return lambda table: table.set_column(table.column_names.index(name), column, values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Parquet"),
        (b"PAR1", "Parquet"),
        (b"run,task,document\n", "Parquet"),
        (good_content()[:-1], "Parquet"),
        (good_content()[100:], "Parquet"),
        (rewritten(lambda table: table.drop_columns(["gold"])), "column gold"),
        (rewritten(lambda table: table.append_column("gold", table["gold"])), "column gold"),
        (rewritten(with_column("gold", pa.array([0, 1]))), "column gold"),
        (rewritten(with_column("document", pa.array([b"\xff", b"\xfe"]))), "column document"),
        (rewritten(with_column("run", pa.array([["a"], ["b"]]))), "column run"),
        (rewritten(with_column("answer", pa.array(["rumour", None]))), "column answer"),
        (rewritten(metadata=b""), "fin_board"),
        (rewritten(metadata=b"{"), "fin_board.*JSON"),
        (rewritten(metadata=b"\xff"), "fin_board.*UTF-8"),
        (rewritten(metadata=b"[" * 100_000), "fin_board"),
        (rewritten(metadata=b"[]"), "no runs"),
        (rewritten(metadata=b'{"format": 2}'), "no runs"),
        (rewritten(metadata=b'{"format": 2, "runs": {}}'), "no runs"),
        (rewritten(metadata=b'{"format": 3, "runs": {"m/results.json": {}}}'), "format is 3"),
    ],
)
def test_unusable_files(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(UnusableFile, match=message) as raised:
        read_export(tmp_path / "x.parquet")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    bad = pa.array([b"\xff\xfe", b"\xff"]).view(pa.string())
    (tmp_path / "x.parquet").write_bytes(rewritten(with_column("gold", bad)))
    with pytest.raises(UnusableFile):
        read_export(tmp_path / "x.parquet")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(good_content())
    for name, limit in (("MAX_FILE_BYTES", 1 << 9), ("MAX_ROWS", 1), ("MAX_COLUMN_BYTES", 20)):
        with monkeypatch.context() as patch, pytest.raises(UnusableFile, match=r"limit|larger"):
            patch.setattr(answers_parquet, name, limit)
            read_export(tmp_path / "x.parquet")


def test_a_long_text_repeated_takes_no_memory(tmp_path: Path) -> None:
    """A megabyte of file could stand for terabytes of text."""
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), ["x" * 1_000_000])

    def repeat(table: pa.Table) -> pa.Table:
        columns = dict.fromkeys(["run", "task", "document", "gold", "answer"], names)
        return pa.table(columns, metadata=table.schema.metadata)

    (tmp_path / "x.parquet").write_bytes(rewritten(repeat, compression="zstd"))
    _, messages = read_export(tmp_path / "x.parquet")
    assert len(messages) == 1 and len(messages[0]) < 300


def test_unknown_and_improper_runs_cost_themselves_only(tmp_path: Path) -> None:
    metadata = {"format": 2, "runs": {"m/results.json": {"a": 1}, "bad": 5, "two\nlines": {}, "x" * 1000: {}}}
    content = rewritten(
        lambda table: pa.concat_tables([table, with_column("run", pa.array(["unknown"] * 2))(table)]),
        metadata=json.dumps(metadata),
    )
    (tmp_path / "x.parquet").write_bytes(content)
    runs, messages = read_export(tmp_path / "x.parquet")
    assert runs == {"m/results.json": ExportedRun({"a": 1}, {"t": ROWS})}
    assert len(messages) == 2 and "'bad'" in messages[0] and "'unknown'" in messages[1]
    assert not any("\n" in message for message in messages)


def test_rows_of_a_task_need_not_stand_together(tmp_path: Path) -> None:
    def mixed(table: pa.Table) -> pa.Table:
        other = with_column("task", pa.array(["other"] * 2))(table)
        return pa.concat_tables([table.slice(0, 1), other, table.slice(1)])

    (tmp_path / "x.parquet").write_bytes(rewritten(mixed, row_group_size=1))
    runs, messages = read_export(tmp_path / "x.parquet")
    assert runs["m/results.json"].answers == {"t": ROWS, "other": ROWS} and messages == []


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_damage_gives_runs_or_a_message(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    content = bytearray(good_content())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] = data.draw(st.integers(0, 255))
        else:
            del content[place : place + data.draw(st.integers(1, 9))]
    file = tmp_path_factory.getbasetemp() / "damaged.parquet"
    file.write_bytes(bytes(content))
    try:
        read_export(file)
    except UnusableFile as error:
        assert "\n" not in str(error)
