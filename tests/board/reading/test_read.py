"""Reading as a whole: lm-eval's own files, and what is left of a board when some of them are bad."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fin_plugins.board.reading import read_results
from fin_plugins.common.errors import FinError
from fin_plugins.tasks.parser import MISSING
from tests.board.reading.runs import OURS, STAMP, Run, columns, entry, messages, model


def test_what_lm_eval_wrote(real_run: Run) -> None:
    reading = read_results([real_run.folder])
    assert [(one.key, one.protocol, one.seen) for one in reading.columns] == [
        ("fin_fomc", "choice", True),
        ("fin_deal", "choice", False),
        ("fin_deal_gen", "gen", False),
        ("plain", "choice", None),
        ("varied", "choice", None),
    ]
    assert all(one.entries[0].model == "dummy" and not one.explanation for one in reading.columns)
    deal = columns(reading)["fin_deal_gen"].entries[0]
    assert (deal.task, deal.labels, deal.n) == ("fin_deal", ("complete", "rumour"), 24)
    assert deal.documents is not None
    assert deal.documents.answers.tolist() == [MISSING] * 24  # the model says "lol"
    assert deal.reported["missing"] == 1.0
    assert deal.conditions.data == "sample"
    assert "Embedded sample rows: no benchmark." in deal.notes
    assert reading.older == ()


def test_answers_are_the_likeliest_labels(real_run: Run) -> None:
    found = entry(real_run.folder)
    lines = real_run.lines("fin_fomc")
    assert found.documents is not None
    assert found.documents.hashes == tuple(line["doc_hash"] for line in lines)
    assert found.documents.gold.tolist() == [line["doc"]["gold"] for line in lines]
    assert found.documents.answers.tolist() == [line["macro_f1"][1] for line in lines]
    assert float(np.mean(found.documents.gold == found.documents.answers)) == found.reported["acc"]


def test_tasks_of_other_people(real_run: Run) -> None:
    """Labels from the continuations; where those differ by document, and where there is no accuracy, it is said."""
    reading = read_results([real_run.folder])
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
    assert message.endswith(
        "said: it reports exact_match, none of acc, weighted_f1, macro_f1, mcc, and no samples give them: the task was "
        "left out"
    )


def test_texts_and_replies_only_where_asked_for(real_run: Run) -> None:
    assert entry(real_run.folder, "fin_deal_gen").documents.texts is None  # type: ignore[union-attr]
    documents = entry(real_run.folder, "fin_deal_gen", with_documents=True).documents
    assert documents is not None
    assert documents.texts == tuple(line["doc"]["text"] for line in real_run.lines("fin_deal_gen"))
    assert set(documents.replies or ()) == {"lol"}
    plain = entry(real_run.folder, "plain", with_documents=True).documents
    assert plain is not None and plain.texts is not None
    assert plain.texts[0] == "Is 0 even, or is it not?"


def test_without_samples_there_are_figures_and_a_note(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path)
    with_samples = entry(tmp_path)
    run.samples("fin_fomc").unlink()
    without = entry(tmp_path)
    assert without.documents is None
    assert without.notes[0] == "No sample file: no intervals."
    assert (without.reported, without.n, without.labels) == (with_samples.reported, 24, with_samples.labels)


def test_a_run_without_samples_stands_beside_one_with_the_same_rows(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "one", model(pretrained="org/one"))
    real_run.copy(tmp_path / "two", model(pretrained="org/two")).samples("fin_fomc").unlink()
    column = columns(read_results([tmp_path]))["fin_fomc"]
    assert [one.documents is None for one in column.entries] == [False, True]


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
    ("damage", "said"),
    [
        (cut, "line 24 is cut off, as by a killed run"),
        (shorten, "it has 20 of 24 documents: a killed run, perhaps"),
        (break_line, "line 1 cannot be used: no JSON"),
        (twice, "a document occurs twice in it"),
        (lambda run: run.samples("fin_fomc").write_text(""), "it has no lines"),
        (lambda run: run.samples("fin_fomc").write_bytes(b"\xff\xfe\n"), "line 1 cannot be used: not UTF-8"),
        (lambda run: run.samples("fin_fomc").write_text("[]\n"), "line 1 is not an object"),
        (without("doc_hash"), "line 1 has no doc_id or doc_hash: from another version of lm-eval?"),
        (without("filtered_resps"), "line 1: there is no `filtered_resps`"),
    ],
)
def test_samples_that_cannot_be_used_are_left_out_alone(damage: Any, said: str, real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path)
    damage(run)
    reading = read_results([tmp_path])
    left_out = "the samples were left out, the result stands without intervals"
    (message,) = messages(reading)
    assert message.startswith(f"samples_fin_fomc_{STAMP}.jsonl: {said}") and left_out in message
    assert [one.entries[0].documents is None for one in reading.columns] == [True, False, False]
    assert "Its sample file cannot be used: no intervals." in reading.columns[0].entries[0].notes


def other_answer(line: dict[str, Any]) -> None:
    """Another answer that is recorded as well as given: only the aggregates do not know of it."""
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
    ("change", "said"),
    [
        (other_answer, "acc is "),
        (other_pair, "line 1: the likeliest label is "),
        (other_gold, "line 1: the recorded gold label is not the document's"),
        (other_hash, "its hashes are not those of the result file"),
        (
            lambda line: line["filtered_resps"].__setitem__(0, ["nan", "False"]),
            "a log-likelihood is not finite (nan)",
        ),
    ],
)
def test_what_contradicts_itself_is_an_error(change: Any, said: str, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path).edit_lines("fin_fomc", change)
    reading = read_results([tmp_path])
    (message,) = messages(reading)
    assert message.startswith(f"! samples_fin_fomc_{STAMP}.jsonl: fin_fomc: ")
    assert said in message
    assert message.endswith(": the task was left out")
    assert [one.key for one in reading.columns] == ["fin_deal", "fin_deal_gen"]


@pytest.mark.parametrize("metric", ["acc", "weighted_f1", "macro_f1", "mcc", "missing", "ambiguous"])
def test_each_figure_is_recomputed(metric: str, real_run: Run, tmp_path: Path) -> None:
    real = entry(real_run.folder, "fin_deal_gen").reported[metric]
    real_run.copy(tmp_path, lambda data: data["results"]["fin_deal_gen"].update({f"{metric},none": 0.4321}))
    (message,) = messages(read_results([tmp_path]))
    wrong = f"{metric} is 0.4321 in the result file and {real:g} recomputed from the samples"
    assert message == f"! samples_fin_deal_gen_{STAMP}.jsonl: fin_deal_gen: {wrong}: the task was left out"


def test_accuracy_of_other_peoples_tasks_is_recomputed(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, lambda data: data["results"]["plain"].update({"acc,none": 0.4321}), tasks=["plain"])
    (message,) = messages(read_results([tmp_path]))
    assert "plain: acc is 0.4321 in the result file" in message


def test_a_killed_run_without_result_file(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path)
    killed = real_run.copy(tmp_path / "model", stamp="2026-02-02T02-02-02")
    killed.result.unlink()
    assert messages(read_results([tmp_path])) == [
        "model/samples_fin_deal_2026-02-02T02-02-02.jsonl: has no result file (results_2026-02-02T02-02-02.json) "
        "beside it, from a killed run, perhaps: it and 2 more of that run were left out"
    ]


def test_samples_of_a_task_that_the_result_does_not_have(real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path, lambda data: data["configs"].pop("fin_fomc"))
    reading = read_results([tmp_path])
    assert messages(reading) == [f"{run.samples('fin_fomc').name}: its task is not in the result file: it was left out"]
    assert len(reading.columns) == len(OURS) - 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"results": {', "no JSON (Expecting property name"),
        ("[1, 2]", "the file is not an object: the whole run was left out"),
        ("{}", "`results` is missing: the whole run was left out"),
        ('{"results": {}, "configs": [], "config": {}}', "`configs` is not an object"),
        ("[" * 100_000, "nested deeper than"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_broken_result_file_costs_no_other(content: str, said: str, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path)
    file = tmp_path / "bad" / "results_2026-02-02T02-02-02.json"
    file.parent.mkdir()
    file.write_bytes(content.encode(errors="surrogateescape"))
    reading = read_results([tmp_path])
    (message,) = messages(reading)
    assert message.startswith("bad/results_2026-02-02T02-02-02.json: ")
    assert said in message
    assert len(reading.columns) == len(OURS)


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FinError, match=r"no result file \(results_\*\.json\) in it: run lm_eval with --output_path"):
        read_results([tmp_path])
    with pytest.raises(FinError, match="no such file or folder"):
        read_results([tmp_path / "none"])


def test_a_name_that_is_no_models(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path)
    (message,) = messages(read_results([tmp_path], names={"lama": "Llama", "dummy": "Guesser"}))
    assert message == "lama: no model here has this path or name: it was named in vain"


def test_many_files_are_read_by_several_processes_with_the_same_outcome(
    real_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        shutil.copytree(real_run.folder, tmp_path / name)
    (tmp_path / "two").joinpath("broken_results_.json").write_text("{")
    alone = read_results([tmp_path])
    monkeypatch.setattr("fin_plugins.board.reading.read._MUCH", 0)
    together = read_results([tmp_path])
    assert [column.key for column in together.columns] == [column.key for column in alone.columns]
    assert messages(together) == messages(alone)
    for ours, theirs in zip(together.columns, alone.columns, strict=True):
        for one, other in zip(ours.entries, theirs.entries, strict=True):
            assert (one.model, one.reported, one.conditions) == (other.model, other.reported, other.conditions)
            assert (one.documents is None) == (other.documents is None)
            if one.documents is not None and other.documents is not None:
                assert one.documents.answers.tolist() == other.documents.answers.tolist()
