"""The exported form gives the same board and contains no document text, machine path or prompt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.board_data import Entry, LoadedRuns
from fin_plugins.board.reading.answers_parquet import AnswerRows, ExportedRun, format_export, read_export
from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.board.results_export import export_results, file_name_part
from fin_plugins.common.errors import FinError
from tests.board.reading.result_fixtures import OURS, STAMP, Run, config, messages, model

NAMES = {"/data/people/somebody/base-model": "Mine"}
BASE = model(pretrained="/data/people/somebody/base-model", dtype="bfloat16")
ADAPTER = model(pretrained="/data/people/somebody/base-model", lora_local_path="/data/people/somebody/runs/fomc")
ALL = (*OURS, "plain", "varied")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/data/people/somebody")


def two_models(real_run: Run, root: Path) -> None:
    real_run.copy(root / "one", BASE, tasks=ALL)
    run = real_run.copy(root / "two", ADAPTER, lambda data: data.update(chat_template="{{ x }}", chat_template_sha="s"))
    run.edit(lambda data: data["n-samples"]["fin_fomc"].update(original=496))
    run.samples("fin_deal").unlink()


def comparable(reading: LoadedRuns) -> list[Any]:
    """The columns and entries, without the names of their files."""
    return [
        (replace(column, entries=()), [_comparable(entry) for entry in column.entries]) for column in reading.columns
    ]


def _comparable(entry: Entry) -> Any:
    documents = entry.documents
    outcomes = documents and (documents.hashes, documents.gold.tolist(), documents.answers.tolist())
    return replace(entry, documents=None, source=replace(entry.source, file="")), outcomes


def test_export_gives_the_same_board(real_run: Run, tmp_path: Path) -> None:
    two_models(real_run, tmp_path / "in")
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    before, after = load_runs([tmp_path / "in"], names=NAMES), load_runs([tmp_path / "out"])
    assert {entry.model for column in after.columns for entry in column.entries} == {"Mine", "fomc (on Mine)"}
    assert comparable(after) == comparable(before)
    assert after.problems == after.older == ()
    assert [written] == list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "answers.parquet"]


def test_second_export_is_the_same(real_run: Run, tmp_path: Path) -> None:
    two_models(real_run, tmp_path / "in")
    first = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    second = export_results([first], tmp_path / "again.parquet", {})
    assert second == tmp_path / "again.parquet" and second.read_bytes() == first.read_bytes()


def test_order_of_the_results_does_not_matter(real_run: Run, tmp_path: Path) -> None:
    two_models(real_run, tmp_path / "in")
    paths = [tmp_path / "in" / "one", tmp_path / "in" / "two"]
    files = [
        export_results(some, tmp_path / f"{number}.parquet", NAMES) for number, some in enumerate((paths, paths[::-1]))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_content(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", ADAPTER)
    file = export_results([tmp_path / "in"], tmp_path / "out", {"fomc (on base-model)": "Tuned"})
    ((name, run),) = read_export(file)[0].items()
    assert name == f"Tuned/results_{STAMP}.json" and list(run.answers) == list(OURS)
    lines = real_run.lines("fin_fomc")
    labels = lines[0]["doc"]["choices"]
    assert run.answers["fin_fomc"] == AnswerRows(
        tuple(line["doc_hash"] for line in lines),
        tuple(line["doc"]["label"] for line in lines),
        tuple(labels[line["macro_f1"][1]] for line in lines),
    )
    assert set(run.result) == {
        *("fin_board", "results", "configs", "versions", "n-samples", "config", "date", "lm_eval_version"),
        "chat_template_sha",
    }
    assert run.result["fin_board"]["model"] == "Tuned"
    assert run.result["fin_board"]["base"] == "base-model"


def test_export_has_no_document_machine_or_prompt(real_run: Run, tmp_path: Path) -> None:
    two_models(real_run, tmp_path / "in")
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    everything = str(pq.read_table(written).to_pydict()) + str(pq.read_metadata(written).metadata)
    assert real_run.lines("fin_fomc")[0]["doc_hash"] in everything and "Mine" in everything
    for line in [line for task in ALL for line in real_run.lines(task)]:
        for text in (line["doc"].get("text"), line["doc"].get("q"), line["doc"].get("id")):
            assert not text or text not in everything
    data = real_run.data()
    secrets = [
        "/data",
        "somebody",
        "lol",
        data["configs"]["fin_fomc"]["doc_to_text"][:40],
        "PyTorch version",
        "Is 0 even",
    ]
    for secret in (*secrets, str(real_run.folder), "config_source"):
        assert secret not in everything


def test_exported_figures_are_recomputed(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE)
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    runs, _ = read_export(written)
    ((name, run),) = runs.items()
    rows = run.answers["fin_fomc"]
    other = next(label for label in rows.gold if label != rows.answers[0])
    run.answers["fin_fomc"] = replace(rows, answers=(other, *rows.answers[1:]))
    written.write_bytes(format_export(runs))
    (message,) = messages(load_runs([tmp_path / "out"]))
    assert message.startswith(f"! answers.parquet: {name}: fin_fomc: acc is ")


def damaged(run: ExportedRun, **rows: tuple[str, ...]) -> ExportedRun:
    return ExportedRun(run.result, {**run.answers, "fin_fomc": replace(run.answers["fin_fomc"], **rows)})


def test_damage_costs_the_intervals_of_its_task(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE)
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    ((name, run),) = read_export(written)[0].items()
    rows = run.answers["fin_fomc"]
    for change in (
        {"answers": ("no label", *rows.answers[1:])},
        {"documents": (rows.documents[1], *rows.documents[1:])},
        {"documents": ("no hash", *rows.documents[1:])},
        {"documents": rows.documents[1:], "gold": rows.gold[1:], "answers": rows.answers[1:]},
    ):
        written.write_bytes(format_export({name: damaged(run, **change)}))
        reading = load_runs([written])
        (message,) = messages(reading)
        assert message.startswith(f"answers.parquet: {name}: ") and "fin_fomc" in message
        assert [column.entries[0].documents is None for column in reading.columns] == [True, False, False]


def test_answers_of_unknown_tasks_are_left_out(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE)
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    ((name, run),) = read_export(written)[0].items()
    rows = run.answers["fin_fomc"]
    written.write_bytes(format_export({name: ExportedRun(run.result, {**run.answers, "other": rows, "more": rows})}))
    reading = load_runs([written])
    (message,) = messages(reading)
    assert message.startswith(f"answers.parquet: {name}: ") and "more, other" in message
    assert len(reading.columns) == 3


def test_exported_and_original_are_one_run(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE)
    export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    reading = load_runs([tmp_path / "in", tmp_path / "out"], names=NAMES)
    assert [len(column.entries) for column in reading.columns] == [1, 1, 1]
    assert reading.columns[0].entries[0].source.file.startswith("in/")
    assert len(reading.older) == 3


def test_older_runs_are_not_exported(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in" / "a", BASE, lambda data: data.update(date=1.0))
    real_run.copy(tmp_path / "in" / "b", BASE, lambda data: data.update(date=2.0), stamp="2026-09-09T09-09-09")
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    assert [*read_export(written)[0]] == ["Mine/results_2026-09-09T09-09-09.json"]


def test_name_with_home_folder_is_refused(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", model(pretrained="/x/somebody-7B"))
    with pytest.raises(FinError, match=r"would contain 'somebody-7B'.*home folder"):
        export_results([tmp_path / "in"], tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
    assert export_results([tmp_path / "in"], tmp_path / "out", {"somebody-7B": "A 7B model"})


def test_path_as_name_is_refused(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", model(pretrained="m"))
    with pytest.raises(FinError, match="which looks like a path of this machine"):
        export_results([tmp_path / "in"], tmp_path / "out", {"m": "/srv/models/m"})


def test_a_model_named_like_a_reply_is_refused(real_run: Run, tmp_path: Path) -> None:
    """Also as a single word, which is the folder in the name of the run."""
    real_run.copy(tmp_path / "in", model(pretrained="m"))
    with pytest.raises(FinError, match="would contain 'lol', which shares its text"):
        export_results([tmp_path / "in"], tmp_path / "out", {"m": "lol"})


@pytest.mark.parametrize("where", ["model", "dtype", "version", "filter", "engine", "harness"])
def test_document_text_anywhere_is_refused(where: str, real_run: Run, tmp_path: Path) -> None:
    text = real_run.lines("fin_fomc")[3]["doc"]["text"][:40].replace("/", " ").replace(",", " ")
    full_text = real_run.lines("fin_fomc")[3]["doc"]["text"]
    assert text in full_text

    def hide(data: dict[str, Any]) -> None:
        data["config"]["model_args"] = {"pretrained": text if where == "model" else "m", "dtype": "auto"}
        if where == "dtype":
            data["config"]["model_args"]["dtype"] = text
        if where == "version":
            data["versions"]["fin_fomc"] = text
        if where == "filter":
            figures = data["results"]["fin_fomc"]
            data["results"]["fin_fomc"] = {key.replace(",none", f",{text}"): value for key, value in figures.items()}
        if where == "engine":
            data["config"]["model"] = text
        if where == "harness":
            data["lm_eval_version"] = text

    run = real_run.copy(tmp_path / "in", hide)
    if where == "filter":
        run.edit_lines("fin_fomc", lambda line: line.update(filter=text))
    with pytest.raises(FinError, match="which shares its text with a document"):
        export_results([tmp_path / "in"], tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_labels_that_are_documents_are_not_exported(real_run: Run, tmp_path: Path) -> None:
    """Choices that differ by document are document text, so only figures are exported."""
    real_run.copy(tmp_path / "in", BASE, tasks=["varied"])
    export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    (entry,) = load_runs([tmp_path / "out"]).columns[0].entries
    assert entry.documents is None
    assert entry.notes == (
        "Only what the harness reports, without intervals: its choices differ from document to document.",
    )


def test_hostile_names_of_models_and_tasks(real_run: Run, tmp_path: Path) -> None:
    def evil(data: dict[str, Any]) -> None:
        for part in ("results", "configs", "versions", "n-samples"):
            data[part] = {"../../<script>": data[part]["fin_fomc"]}

    run = real_run.copy(
        tmp_path / "in", model(pretrained="<b>\u202e'\"" + "x" * 300), evil, lambda d: d.update(task_hashes={})
    )
    for task in OURS:
        run.samples(task).unlink()
    (name,) = read_export(export_results([tmp_path / "in"], tmp_path / "out", {}))[0]
    assert len(name) < 150 and name.count("/") == 1
    assert comparable(load_runs([tmp_path / "out"])) == comparable(load_runs([tmp_path / "in"]))


def test_contradictions_are_not_exported(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE, lambda data: data["results"]["fin_fomc"].update({"acc,none": 0.1234}))
    with pytest.raises(FinError, match=r"fin_fomc: acc is 0.1234 .*; nothing was exported"):
        export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    assert not (tmp_path / "out").exists()


def test_skipped_results_are_logged(real_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = real_run.copy(tmp_path / "in", BASE, config("fin_deal", output_type="loglikelihood_rolling"))
    run.samples("fin_fomc").write_text("{")
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    (run,) = read_export(written)[0].values()
    assert [*run.answers] == ["fin_deal_gen"] and [*run.result["results"]] == ["fin_fomc", "fin_deal_gen"]
    assert "fin_deal: its output_type is loglikelihood_rolling" in caplog.text
    assert "line 1 is cut off" in caplog.text


def test_unwritable_folder(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FinError, match=r"cannot be written .*choose another folder"):
        export_results([tmp_path / "in"], tmp_path / "out", NAMES)


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_as_parts_of_file_names(first: str, second: str) -> None:
    part = file_name_part(first)
    assert part.isascii() and len(part) < 100
    assert not set(part) & set('/\\:*?"<>| \n\x00')
    assert not part.startswith(".")
    assert part != file_name_part(second) or first == second
    assert file_name_part("fin_fomc_gen") == "fin_fomc_gen"


def test_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(FinError, match="no results"):
        export_results([tmp_path / "results.json"], tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
