"""Fields of a result file, and fields that older versions omit."""

from pathlib import Path
from typing import Any

import pytest

from fin_plugins.board.reading.load_runs import load_runs
from tests.board.reading.result_fixtures import STAMP, Edit, Run, columns, config, entry, messages, model


def test_source_has_the_settings(real_run: Run, tmp_path: Path) -> None:
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


def test_limit_is_recorded(real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, lambda data: data["n-samples"]["fin_fomc"].update(original=496))
    assert entry(tmp_path).conditions.limit == "24"
    assert "Only 24 of 496 documents were scored." in entry(tmp_path).notes
    assert entry(tmp_path, "fin_deal").conditions.limit is None


def test_limit_of_older_versions(real_run: Run, tmp_path: Path) -> None:
    def older(data: dict[str, Any]) -> None:
        del data["n-samples"]
        data["config"]["limit"] = 24.0
        data["lm_eval_version"] = "0.4.3"

    real_run.copy(tmp_path, older)
    loaded = entry(tmp_path)
    assert (loaded.n, loaded.conditions.limit) == (24, "24.0")
    assert "Only a part of the documents (--limit 24.0) was scored." in loaded.notes
    assert "Written by lm-eval 0.4.3: read as far as it goes." in loaded.notes
    assert load_runs([tmp_path]).problems == ()


@pytest.mark.parametrize(
    ("version", "noted"), [("0.4.12", False), ("0.5.0.dev1", False), ("0.4.9.1", True), (None, True)]
)
def test_older_versions_are_noted(version: str | None, noted: bool, real_run: Run, tmp_path: Path) -> None:
    real_run.copy(tmp_path, lambda data: data.update(lm_eval_version=version))
    assert any("read as far as it goes" in note for note in entry(tmp_path).notes) == noted


def test_fields_missing_in_older_versions(real_run: Run, tmp_path: Path) -> None:
    """No hashes, no template, arguments as text, no filter in the samples."""

    def older(data: dict[str, Any]) -> None:
        for name in ("task_hashes", "chat_template", "chat_template_sha", "date", "versions", "n-shot", "git_hash"):
            data.pop(name, None)
        data["config"]["model_args"] = "pretrained=org/old,dtype=float16"

    run = real_run.copy(tmp_path, older)
    run.edit_lines("fin_fomc", lambda line: line.pop("filter"))
    loaded = entry(tmp_path)
    assert loaded.model == "old"
    assert loaded.documents is not None
    assert (loaded.conditions.version, loaded.conditions.chat) == ("1.0", False)
    assert loaded.source.date == 1767323045.678901  # from the file's name: 2026-01-02T03-04-05.678901


def test_named_output_file(real_run: Run, tmp_path: Path) -> None:
    """`--output_path mine.json` makes mine_<stamp>.json, with the samples beside it."""
    run = real_run.copy(tmp_path)
    run.result.rename(tmp_path / f"mine_{STAMP}.json")
    loaded = entry(tmp_path)
    assert loaded.source.file == f"mine_{STAMP}.json"
    assert loaded.documents is not None


def test_result_without_stamp_has_no_samples(real_run: Run, tmp_path: Path) -> None:
    """As lm-eval before 0.4.3 wrote it; its samples cannot be identified."""
    run = real_run.copy(tmp_path)
    run.result.rename(tmp_path / "results.json")
    assert entry(tmp_path).documents is None


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda data: data["n-samples"]["fin_fomc"].update(effective=0), "it was run on 0 documents"),
        (lambda data: data["configs"].update(fin_fomc=None), "its entry in `configs` is missing"),
        (lambda data: data["results"].pop("fin_fomc"), "its entry in `results` is missing"),
        (config("fin_fomc", output_type="loglikelihood_rolling"), "output_type is loglikelihood_rolling, which has no"),
        (config("fin_fomc", output_type=None), "its output_type is None"),
        (lambda data: data["results"]["fin_fomc"].update({"acc,none": 34.5}), "its acc is 34.5"),
        (lambda data: data["results"]["fin_fomc"].update({"mcc,none": -1.5}), "its mcc is -1.5"),
    ],
)
def test_unreadable_task_is_skipped_alone(edit: Edit, fault: str, real_run: Run, tmp_path: Path) -> None:
    run = real_run.copy(tmp_path, edit)
    run.samples("fin_fomc").unlink()
    reading = load_runs([tmp_path])
    (message,) = messages(reading)
    assert message.startswith(f"results_{STAMP}.json: fin_fomc: ")
    assert fault in message
    assert message.endswith("the task was left out")
    assert list(columns(reading)) == ["fin_deal", "fin_deal_gen"]


def test_groups_are_skipped(real_run: Run, tmp_path: Path) -> None:
    """lm-eval lists them among the results, without a configuration."""

    def group(data: dict[str, Any]) -> None:
        data["results"]["fin_unseen"] = {"alias": "fin_unseen", "acc,none": 0.5, "sample_count": {"acc,none": 24}}
        data["groups"] = {"fin_unseen": data["results"]["fin_unseen"]}

    real_run.copy(tmp_path, group)
    reading = load_runs([tmp_path])
    assert list(columns(reading)) == ["fin_fomc", "fin_deal", "fin_deal_gen"]
    assert reading.problems == ()


def test_values_that_are_not_figures(real_run: Run, tmp_path: Path) -> None:
    def empty(data: dict[str, Any]) -> None:
        none = {"mcc,none": "", "acc,none": "N/A", "acc_stderr,none": float("nan"), "weighted_f1,none": True}
        data["results"]["fin_fomc"].update(none)

    real_run.copy(tmp_path, empty)
    assert set(entry(tmp_path).reported) == {"macro_f1", "sample_rows"}


def test_first_of_several_filters(real_run: Run, tmp_path: Path) -> None:
    """The first is used; samples have one line per filter."""

    def two(data: dict[str, Any]) -> None:
        figures = data["results"]["fin_fomc"]
        strict = {key.replace(",none", ",strict"): value for key, value in figures.items()}
        loose = {key.replace(",none", ",loose"): 0.5 for key in figures if key.endswith(",none")}
        data["results"]["fin_fomc"] = strict | loose
        data["task_hashes"] = {}

    run = real_run.copy(tmp_path, two)
    lines = [{**line, "filter": kind} for line in run.lines("fin_fomc") for kind in ("strict", "loose")]
    run.write_lines("fin_fomc", lines)
    loaded = entry(tmp_path)
    assert loaded.n == 24
    assert loaded.reported["acc"] == entry(real_run.folder).reported["acc"]
    assert "One of lm-eval's filters is shown; there is also loose." in loaded.notes


def test_order_of_versions(real_run: Run, tmp_path: Path) -> None:
    versions = ["1.0", "10.0", "9.5", "2.0-beta", "\u00b2", "N/A"]
    for number, version in enumerate(versions):
        real_run.copy(tmp_path / str(number), lambda data, v=version: data["versions"].update(fin_fomc=v))  # type: ignore[misc]
    order = [column.conditions.version for column in load_runs([tmp_path]).columns if column.task == "fin_fomc"]
    assert sorted(order) == sorted(versions)
    numbers = [version for version in order if version in ("10.0", "9.5", "1.0")]
    assert numbers == ["10.0", "9.5", "1.0"]


def test_mapped_labels_are_the_words(real_run: Run, tmp_path: Path) -> None:
    def mapped(data: dict[str, Any]) -> None:
        data["configs"]["fin_fomc"]["dataset_kwargs"]["labels"] = {"0": "hawkish", "1": "dovish", "2": "dovish"}

    real_run.copy(tmp_path, mapped).samples("fin_fomc").unlink()
    assert entry(tmp_path).labels == ("hawkish", "dovish")
