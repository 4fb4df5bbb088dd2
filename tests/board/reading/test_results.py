"""What a result file says of a run and its tasks, and what it may leave out."""

from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.reading import read_results
from tests.board.reading.runs import STAMP, Edit, Run, columns, config, entry, messages, model


def test_the_source_names_what_a_reader_may_want(real_run: Run, tmp_path: Path) -> None:
    arguments = {"pretrained": "/x/base", "lora_local_path": "/somewhere/fomc", "dtype": "bfloat16"}
    real_run.copy(tmp_path / "deep" / "er", model(**arguments))
    source = entry(tmp_path).source
    assert (source.file, source.engine, source.harness) == (f"deep/er/results_{STAMP}.json", "vllm", "0.4.13")
    assert source.date == real_run.data()["date"]
    settings = {key: source.settings[key] for key in ("dtype", "adapter", "torch", "gpu")}
    assert settings == {
        "dtype": "bfloat16",
        "adapter": "fomc",
        "torch": "2.13.0+cpu",
        "gpu": "Big",
    }
    assert "/somewhere" not in str(entry(tmp_path))


def test_a_limit_is_marked(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, lambda data: data["n-samples"]["fin_fomc"].update(original=496))
    assert entry(tmp_path).conditions.limit == "24"
    assert "Only 24 of 496 documents were scored." in entry(tmp_path).notes
    assert entry(tmp_path, "fin_deal").conditions.limit is None


def test_a_limit_as_older_versions_tell_it(real_run: Run, tmp_path: Path) -> None:
    def older(data: dict[str, Any]) -> None:
        del data["n-samples"]
        data["config"]["limit"] = 24.0
        data["lm_eval_version"] = "0.4.3"

    real_run.copy(tmp_path, older)
    found = entry(tmp_path)
    assert (found.n, found.conditions.limit) == (24, "24.0")
    assert "Only a part of the documents (--limit 24.0) was scored." in found.notes
    assert "Written by lm-eval 0.4.3: read as far as it goes." in found.notes
    assert read_results([tmp_path]).problems == ()


@pytest.mark.parametrize(
    ("version", "noted"), [("0.4.12", False), ("0.5.0.dev1", False), ("0.4.9.1", True), (None, True)]
)
def test_older_versions_are_noted(version: str | None, noted: bool, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, lambda data: data.update(lm_eval_version=version))
    assert any("read as far as it goes" in note for note in entry(tmp_path).notes) == noted


def test_what_older_versions_leave_out(real_run: Run, tmp_path: Path) -> None:
    """No hashes, no template, arguments as a text, no filter in the samples."""

    def older(data: dict[str, Any]) -> None:
        for name in ("task_hashes", "chat_template", "chat_template_sha", "date", "versions", "n-shot", "git_hash"):
            data.pop(name, None)
        data["config"]["model_args"] = "pretrained=org/old,dtype=float16"

    run = real_run.copy(tmp_path, older)
    run.edit_lines("fin_fomc", lambda line: line.pop("filter"))
    found = entry(tmp_path)
    assert found.model == "old"
    assert found.documents is not None
    assert (found.conditions.version, found.conditions.chat) == ("1.0", False)
    assert found.source.date == 1767323045.678901  # from the file's name: 2026-01-02T03-04-05.678901


def test_a_run_written_to_a_named_file(real_run: Run, tmp_path: Path) -> None:
    """`--output_path mine.json` makes mine_<stamp>.json, with the samples beside it."""
    run = real_run.copy(tmp_path)
    run.result.rename(tmp_path / f"mine_{STAMP}.json")
    found = entry(tmp_path)
    assert found.source.file == f"mine_{STAMP}.json"
    assert found.documents is not None


def test_a_result_without_a_stamp(real_run: Run, tmp_path: Path) -> None:
    """As lm-eval wrote it before 0.4.3; which samples are its own cannot be told."""
    run = real_run.copy(tmp_path)
    run.result.rename(tmp_path / "results.json")
    assert entry(tmp_path).documents is None


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda data: data["n-samples"]["fin_fomc"].update(effective=0), "it was run on 0 documents"),
        (lambda data: data["configs"].update(fin_fomc=None), "its entry in `configs` is missing"),
        (lambda data: data["results"].pop("fin_fomc"), "its entry in `results` is missing"),
        (config("fin_fomc", output_type="loglikelihood_rolling"), "output_type is loglikelihood_rolling, which has no"),
        (config("fin_fomc", output_type=None), "its output_type is None"),
        (lambda data: data["results"]["fin_fomc"].update({"acc,none": 34.5}), "its acc is 34.5, which no acc can be"),
        (lambda data: data["results"]["fin_fomc"].update({"mcc,none": -1.5}), "its mcc is -1.5, which no mcc can be"),
    ],
)
def test_a_task_that_cannot_be_read_costs_no_other(edit: Edit, said: str, real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path, edit)
    run.samples("fin_fomc").unlink()
    reading = read_results([tmp_path])
    (message,) = messages(reading)
    assert message.startswith(f"results_{STAMP}.json: fin_fomc: ")
    assert said in message
    assert message.endswith("the task was left out")
    assert list(columns(reading)) == ["fin_deal", "fin_deal_gen"]


def test_groups_are_passed_over(real_run: Run, tmp_path: Path) -> None:
    """lm-eval lists them among the results, without a configuration."""

    def group(data: dict[str, Any]) -> None:
        data["results"]["fin_unseen"] = {"alias": "fin_unseen", "acc,none": 0.5, "sample_count": {"acc,none": 24}}
        data["groups"] = {"fin_unseen": data["results"]["fin_unseen"]}

    real_run.copy(tmp_path, group)
    reading = read_results([tmp_path])
    assert list(columns(reading)) == ["fin_fomc", "fin_deal", "fin_deal_gen"]
    assert reading.problems == ()


def test_figures_that_are_none(real_run: Run, tmp_path: Path) -> None:
    def empty(data: dict[str, Any]) -> None:
        none = {"mcc,none": "", "acc,none": "N/A", "acc_stderr,none": float("nan"), "weighted_f1,none": True}
        data["results"]["fin_fomc"].update(none)

    real_run.copy(tmp_path, empty)
    assert set(entry(tmp_path).reported) == {"macro_f1", "sample_rows"}


def test_one_of_several_filters(real_run: Run, tmp_path: Path) -> None:
    """The first, as lm-eval lists them; samples have a line for each."""

    def two(data: dict[str, Any]) -> None:
        figures = data["results"]["fin_fomc"]
        strict = {key.replace(",none", ",strict"): value for key, value in figures.items()}
        loose = {key.replace(",none", ",loose"): 0.5 for key in figures if key.endswith(",none")}
        data["results"]["fin_fomc"] = strict | loose
        data["task_hashes"] = {}

    run = real_run.copy(tmp_path, two)
    lines = [{**line, "filter": kind} for line in run.lines("fin_fomc") for kind in ("strict", "loose")]
    run.write_lines("fin_fomc", lines)
    found = entry(tmp_path)
    assert found.n == 24
    assert found.reported["acc"] == entry(real_run.folder).reported["acc"]
    assert "One of lm-eval's filters is shown; there is also loose." in found.notes


def test_versions_of_many_kinds_have_an_order(real_run: Run, tmp_path: Path) -> None:
    versions = ["1.0", "10.0", "9.5", "2.0-beta", "\u00b2", "N/A"]
    for number, version in enumerate(versions):
        real_run.copy(tmp_path / str(number), lambda data, v=version: data["versions"].update(fin_fomc=v))  # type: ignore[misc]
    found = [one.conditions.version for one in read_results([tmp_path]).columns if one.task == "fin_fomc"]
    assert sorted(found) == sorted(versions)
    numbers = [version for version in found if version in ("10.0", "9.5", "1.0")]
    assert numbers == ["10.0", "9.5", "1.0"]


def test_of_labels_that_stand_for_values_the_words_count(real_run: Run, tmp_path: Path) -> None:
    def mapped(data: dict[str, Any]) -> None:
        data["configs"]["fin_fomc"]["dataset_kwargs"]["labels"] = {"0": "hawkish", "1": "dovish", "2": "dovish"}

    real_run.copy(tmp_path, mapped).samples("fin_fomc").unlink()
    assert entry(tmp_path).labels == ("hawkish", "dovish")
