"""The exported form gives the same board and contains no document text, machine path or prompt."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.board_data import Entry, LoadedRuns
from fin_plugins.board.reading.load_runs import load_runs
from fin_plugins.board.results_export import export_results
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
    assert sorted(written) == sorted(file for file in (tmp_path / "out").rglob("*") if file.is_file())


def test_second_export_is_the_same(real_run: Run, tmp_path: Path) -> None:
    two_models(real_run, tmp_path / "in")
    first = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    second = export_results([tmp_path / "out"], tmp_path / "again", {})
    assert [file.read_bytes() for file in sorted(first)] == [file.read_bytes() for file in sorted(second)]
    assert sorted(file.name for file in first) == sorted(file.name for file in second)


def test_names_of_files(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", ADAPTER)
    written = export_results([tmp_path / "in"], tmp_path / "out", {"fomc (on base-model)": "Tuned"})
    assert [str(file.relative_to(tmp_path / "out")) for file in written] == [
        *(f"Tuned/answers_{task}_{STAMP}.csv" for task in OURS),
        f"Tuned/results_{STAMP}.json",
    ]
    with written[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = real_run.lines("fin_fomc")
    labels = lines[0]["doc"]["choices"]
    assert rows == [
        {"hash": line["doc_hash"], "gold": line["doc"]["label"], "answer": labels[line["macro_f1"][1]]}
        for line in lines
    ]
    data = json.loads(written[-1].read_text())
    assert set(data) == {
        *("fin_board", "results", "configs", "versions", "n-samples", "config", "date", "lm_eval_version"),
        "chat_template_sha",
    }
    assert data["fin_board"]["model"] == "Tuned"
    assert data["fin_board"]["base"] == "base-model"


def test_export_has_no_document_machine_or_prompt(real_run: Run, tmp_path: Path) -> None:
    two_models(real_run, tmp_path / "in")
    written = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    everything = "\n".join(file.read_text() for file in written) + "\n".join(map(str, written)).replace(
        str(tmp_path), ""
    )
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
    lines = written[0].read_text().splitlines()
    hashed, gold, _ = lines[1].split(",")
    unchanged = {line.split(",")[1] for line in lines[1:]} - {lines[1].split(",")[2]}
    written[0].write_text("\n".join([lines[0], f"{hashed},{gold},{min(unchanged)}", *lines[2:]]) + "\n")
    (message,) = messages(load_runs([tmp_path / "out"]))
    assert message.startswith(f"! Mine/answers_fin_fomc_{STAMP}.csv: fin_fomc: acc is ")


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
    assert all("2026-09-09" in file.name for file in written)


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
    (result,) = export_results([tmp_path / "in"], tmp_path / "out", NAMES)
    (entry,) = load_runs([tmp_path / "out"]).columns[0].entries
    assert result.name == f"results_{STAMP}.json"
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
    (result,) = export_results([tmp_path / "in"], tmp_path / "out", {})
    assert result.parent.parent == tmp_path / "out"
    assert len(result.parent.name) < 100
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
    assert [file.name.split("_2026")[0] for file in written] == ["answers_fin_deal_gen", "results"]
    assert "fin_deal: its output_type is loglikelihood_rolling" in caplog.text
    assert "line 1 is cut off" in caplog.text


def test_unwritable_folder(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path / "in", BASE)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FinError, match=r"cannot be written .*choose another folder"):
        export_results([tmp_path / "in"], tmp_path / "out", NAMES)
