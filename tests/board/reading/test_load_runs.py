"""Loading lm-eval's own files, complete and damaged."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.common.errors import FinError
from fin_plugins.tasks.label_parser import MISSING
from tests.board.reading.result_fixtures import OURS, STAMP, Run, columns, entry, messages, model


def test_results_of_lm_eval(real_run: Run) -> None:
    reading = load_runs([real_run.folder])
    assert [(column.key, column.protocol, column.seen) for column in reading.columns] == [
        ("fin_fomc", "choice", True),
        ("fin_deal", "choice", False),
        ("fin_deal_gen", "gen", False),
        ("plain", "choice", None),
        ("varied", "choice", None),
    ]
    assert all(column.entries[0].model == "dummy" and not column.explanation for column in reading.columns)
    deal = columns(reading)["fin_deal_gen"].entries[0]
    assert (deal.task, deal.labels, deal.n) == ("fin_deal", ("complete", "rumour"), 24)
    assert deal.documents is not None
    assert deal.documents.answers.tolist() == [MISSING] * 24  # the model says "lol"
    assert deal.reported["missing"] == 1.0
    assert deal.conditions.data == "sample"
    assert "Embedded sample rows: no benchmark." in deal.notes
    assert reading.older == ()


def test_answers_are_the_likeliest_labels(real_run: Run) -> None:
    loaded = entry(real_run.folder)
    lines = real_run.lines("fin_fomc")
    assert loaded.documents is not None
    assert loaded.documents.hashes == tuple(line["doc_hash"] for line in lines)
    assert loaded.documents.gold.tolist() == [line["doc"]["gold"] for line in lines]
    assert loaded.documents.answers.tolist() == [line["macro_f1"][1] for line in lines]
    assert float(np.mean(loaded.documents.gold == loaded.documents.answers)) == loaded.reported["acc"]


def test_tasks_of_others(real_run: Run) -> None:
    """Labels come from the continuations; a note or problem says why there are none."""
    reading = load_runs([real_run.folder])
    plain = columns(reading)["plain"].entries[0]
    assert plain.labels == ("even", "odd")
    assert plain.documents is not None
    assert plain.documents.gold.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 1]
    assert plain.documents.hashes[8] == f"{plain.documents.hashes[1]}#2"
    varied = columns(reading)["varied"].entries[0]
    assert varied.documents is None
    assert set(varied.reported) == {"acc"}
    (note,) = varied.notes
    assert note == "Only what the harness reports, without intervals: its choices differ from document to document."
    (message,) = messages(reading)
    assert "said: it reports exact_match" in message


def test_texts_and_replies_only_on_request(real_run: Run) -> None:
    assert entry(real_run.folder, "fin_deal_gen").documents.texts is None  # type: ignore[union-attr]
    documents = entry(real_run.folder, "fin_deal_gen", with_documents=True).documents
    assert documents is not None
    assert documents.texts == tuple(line["doc"]["text"] for line in real_run.lines("fin_deal_gen"))
    assert set(documents.replies or ()) == {"lol"}
    plain = entry(real_run.folder, "plain", with_documents=True).documents
    assert plain is not None and plain.texts is not None
    assert plain.texts[0] == "Is 0 even, or is it not?"


def test_without_samples(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path)
    with_samples = entry(tmp_path)
    run.samples("fin_fomc").unlink()
    without = entry(tmp_path)
    assert without.documents is None
    assert without.notes[0] == "No sample file: no intervals."
    assert (without.reported, without.n, without.labels) == (with_samples.reported, 24, with_samples.labels)


def test_run_without_samples_shares_the_column(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "one", model(pretrained="org/one"))
    real_run.copy(tmp_path / "two", model(pretrained="org/two")).samples("fin_fomc").unlink()
    column = columns(load_runs([tmp_path]))["fin_fomc"]
    assert [loaded.documents is None for loaded in column.entries] == [False, True]


def cut(run: Run) -> None:
    text = run.samples("fin_fomc").read_text(encoding="utf-8")
    run.samples("fin_fomc").write_text(text[:-100], encoding="utf-8")


def shorten(run: Run) -> None:
    run.write_lines("fin_fomc", run.lines("fin_fomc")[:20])


def break_line(run: Run) -> None:
    run.samples("fin_fomc").write_text("{}}\n", encoding="utf-8")


def twice(run: Run) -> None:
    run.write_lines("fin_fomc", [*run.lines("fin_fomc")[:23], run.lines("fin_fomc")[0]])


def without(name: str) -> Any:
    return lambda run: run.edit_lines("fin_fomc", lambda line: line.pop(name))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (cut, "line 24 is cut off"),
        (shorten, "it has 20 of 24 documents"),
        (break_line, "line 1 cannot be used: "),
        (twice, "a document occurs twice in it"),
        (lambda run: run.samples("fin_fomc").write_text(""), "it has no lines"),
        (lambda run: run.samples("fin_fomc").write_bytes(b"\xff\xfe\n"), "line 1 cannot be used: not UTF-8"),
        (lambda run: run.samples("fin_fomc").write_text("[]\n"), "line 1 is not an object"),
        (without("doc_hash"), "line 1 has no doc_id or doc_hash"),
        (without("filtered_resps"), "line 1: `filtered_resps`"),
    ],
)
def test_unusable_samples_are_skipped_alone(damage: Any, fault: str, real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path)
    damage(run)
    reading = load_runs([tmp_path])
    left_out = "the samples were left out"
    (message,) = messages(reading)
    assert message.startswith(f"samples_fin_fomc_{STAMP}.jsonl: {fault}") and left_out in message
    assert [column.entries[0].documents is None for column in reading.columns] == [True, False, False]
    assert "Its sample file cannot be used: no intervals." in reading.columns[0].entries[0].notes


def other_answer(line: dict[str, Any]) -> None:
    """Another answer, recorded consistently: only the aggregates contradict it."""
    size = len(line["doc"]["choices"])
    answer = (line["macro_f1"][1] + 1) % size
    line["filtered_resps"] = [["-1.0" if label == answer else "-2.0", "False"] for label in range(size)]
    line["macro_f1"][1] = answer


def other_pair(line: dict[str, Any]) -> None:
    line["macro_f1"][1] = (line["macro_f1"][1] + 1) % 3


def other_gold(line: dict[str, Any]) -> None:
    line["doc"]["gold"] = (line["doc"]["gold"] + 1) % 3


def other_hash(line: dict[str, Any]) -> None:
    line["doc_hash"] = line["doc_hash"][::-1]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (other_answer, "acc is "),
        (other_pair, "line 1: the likeliest label is "),
        (other_gold, "line 1: the recorded gold label"),
        (other_hash, "its hashes differ"),
        (
            lambda line: line["filtered_resps"].__setitem__(0, ["nan", "False"]),
            "a log-likelihood is not finite (nan)",
        ),
    ],
)
def test_contradictions_are_errors(change: Any, fault: str, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path).edit_lines("fin_fomc", change)
    reading = load_runs([tmp_path])
    (message,) = messages(reading)
    assert message.startswith(f"! samples_fin_fomc_{STAMP}.jsonl: fin_fomc: ")
    assert fault in message
    assert message.endswith(": the task was left out")
    assert [column.key for column in reading.columns] == ["fin_deal", "fin_deal_gen"]


@pytest.mark.parametrize("metric", ["acc", "weighted_f1", "macro_f1", "mcc", "missing", "ambiguous"])
def test_each_figure_is_recomputed(metric: str, real_run: Run, tmp_path: Path) -> None:
    figure = entry(real_run.folder, "fin_deal_gen").reported[metric]
    real_run.copy(tmp_path, lambda data: data["results"]["fin_deal_gen"].update({f"{metric},none": 0.4321}))
    (message,) = messages(load_runs([tmp_path]))
    wrong = f"{metric} is 0.4321 in the result file and {figure:g} recomputed from the samples"
    assert message == f"! samples_fin_deal_gen_{STAMP}.jsonl: fin_deal_gen: {wrong}: the task was left out"


def test_accuracy_of_others_tasks_is_recomputed(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, lambda data: data["results"]["plain"].update({"acc,none": 0.4321}), tasks=["plain"])
    (message,) = messages(load_runs([tmp_path]))
    assert "plain: acc is 0.4321 in the result file" in message


def test_samples_without_result_file(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path)
    killed = real_run.copy(tmp_path / "model", stamp="2026-02-02T02-02-02")
    killed.result.unlink()
    (message,) = messages(load_runs([tmp_path]))
    assert message.startswith("model/samples_fin_deal_2026-02-02T02-02-02.jsonl: ")
    assert "results_2026-02-02T02-02-02.json" in message and "2 more of that run" in message


def test_samples_without_task(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path, lambda data: data["configs"].pop("fin_fomc"))
    reading = load_runs([tmp_path])
    assert messages(reading) == [f"{run.samples('fin_fomc').name}: its task is not in the result file: it was left out"]
    assert len(reading.columns) == len(OURS) - 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"results": {', "(Expecting property name"),
        ("[1, 2]", "the file is not an object: the whole run was left out"),
        ("{}", "`results` is missing: the whole run was left out"),
        ('{"results": {}, "configs": [], "config": {}}', "`configs` is not an object"),
        ("[" * 100_000, "nested deeper than"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_broken_result_file_is_skipped_alone(content: str, fault: str, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path)
    file = tmp_path / "bad" / "results_2026-02-02T02-02-02.json"
    file.parent.mkdir()
    file.write_bytes(content.encode(errors="surrogateescape"))
    reading = load_runs([tmp_path])
    (message,) = messages(reading)
    assert message.startswith("bad/results_2026-02-02T02-02-02.json: ")
    assert fault in message
    assert len(reading.columns) == len(OURS)


def test_no_result_file(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"no result file \(results_\*\.json\)"):
        load_runs([tmp_path])
    with pytest.raises(FinError, match="no such file or folder"):
        load_runs([tmp_path / "none"])


def test_unused_name_is_reported(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path)
    (message,) = messages(load_runs([tmp_path], names={"lama": "Llama", "dummy": "Guesser"}))
    assert message.startswith("lama: ")


def test_several_processes_read_the_same(real_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        shutil.copytree(real_run.folder, tmp_path / name)
    (tmp_path / "two").joinpath("broken_results_.json").write_text("{")
    alone = load_runs([tmp_path])
    monkeypatch.setattr("fin_plugins.board.reading.load_runs.PARALLEL_BYTES", 0)
    together = load_runs([tmp_path])
    assert [column.key for column in together.columns] == [column.key for column in alone.columns]
    assert messages(together) == messages(alone)
    for column_together, column_alone in zip(together.columns, alone.columns, strict=True):
        for entry_together, entry_alone in zip(column_together.entries, column_alone.entries, strict=True):
            assert (entry_together.model, entry_together.reported, entry_together.conditions) == (
                entry_alone.model,
                entry_alone.reported,
                entry_alone.conditions,
            )
            assert (entry_together.documents is None) == (entry_alone.documents is None)
            if entry_together.documents is not None and entry_alone.documents is not None:
                assert entry_together.documents.answers.tolist() == entry_alone.documents.answers.tolist()
