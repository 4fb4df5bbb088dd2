"""Which files are checked, which rows are, and that nothing is reported twice."""

from pathlib import Path

import pytest

from fin_plugins.checks.runner import CheckOptions, find_files
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import experiment_folder, merge_folder, training_folder
from tests.checks.check_helpers import GOOD_TASK, row_codes, row_findings, static_findings, write

pytestmark = pytest.mark.usefixtures("news_folder")


def test_which_files_a_folder_stands_for(news_folder: Path) -> None:
    write("b/task.yaml", "task: here\n" + GOOD_TASK)
    write("b/template.yaml", GOOD_TASK)
    write("b/uses.yaml", "include: template.yaml\ntask: uses\n")
    write("broken.yaml", "task: [\n")
    write("compose.yaml", "version: 3\nservices: {}\n")
    write("experiment.yaml", (experiment_folder() / "demo.yaml").read_text(encoding="utf-8"))
    write("search.yaml", (merge_folder() / "search" / "pair.yaml").read_text(encoding="utf-8"))
    write("training.yaml", (training_folder() / "demo.yaml").read_text(encoding="utf-8"))
    write(".hidden/task.yaml", "task: hidden\n")
    files, notes = find_files([".", "b/task.yaml", str(news_folder / "b" / "uses.yaml")])
    assert [file.name for file in files] == ["b/task.yaml", "b/uses.yaml", "broken.yaml", "training.yaml"]
    assert [note.split(":")[0] for note in notes] == ["compose.yaml", "experiment.yaml", "search.yaml"]


@pytest.mark.parametrize("path", ["gone", "b/gone.yaml", "x\0y", "x" * 5000, "empty"])
def test_paths_without_yaml(path: str, news_folder: Path) -> None:
    (news_folder / "empty").mkdir()
    with pytest.raises(FinError, match=r"no such file|no \.yaml file"):
        find_files([path])


def test_a_problem_in_an_included_file_is_reported_once_and_there() -> None:
    shared = GOOD_TASK.replace("[good, bad, mixed]", "[good, bad, bad]").replace("    licence: Apache-2.0\n", "")
    write("_shared", shared)
    names = [write(f"news_{number}.yaml", f"include: _shared\ntask: my_news_{number}\n") for number in range(3)]
    assert [finding.file for finding in static_findings(*names)] == ["_shared", "_shared"]


def test_what_a_task_lacks_is_not_repeated_for_its_generative_variant() -> None:
    write("mine.yaml", "task: mine\n" + GOOD_TASK.replace("test_split: test\n", ""))
    variant = "include: mine.yaml\ntask: mine_gen\noutput_type: generate_until\ndoc_to_choice: null\n"
    variant += "doc_to_target: label\nprocess_results: !function fin_plugins.tasks.results.score_reply\n"
    write("mine_gen.yaml", variant + "metric_list: !function fin_plugins.tasks.metrics.REPLY\n")
    both = static_findings("mine.yaml", "mine_gen.yaml")
    assert [(finding.file, finding.code) for finding in both] == [("mine.yaml", "S03")]
    assert [(finding.file, finding.code) for finding in static_findings("mine_gen.yaml")] == [("mine_gen.yaml", "S03")]


def test_a_plain_lm_eval_task_is_only_held_to_lm_evals_rules() -> None:
    plain = "task: plain_one\ndataset_path: imdb\noutput_type: multiple_choice\ndoc_to_text: '{{text}}'\n"
    plain += "doc_to_target: label\n"
    splits, choices = "test_split: test\nfewshot_split: test\n", "doc_to_choice: ['no', 'no idea']\n"
    assert static_findings(write("plain.yaml", plain + splits + choices)) == []
    findings = static_findings(write("plain.yaml", plain + "doc_to_choice: ['up', 'down', 'up']\n"))
    assert {f"{finding.code} {finding.key}" for finding in findings} == {"S03 test_split", "L02 doc_to_choice.2"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dataset_path: owner/letters\n", "owner/letters"),
        ("custom_dataset: !function somewhere.load\n", "somewhere.load"),
        ("dataset_path: csv\ndataset_kwargs: {data_files: https://example.org/a.csv}\n", "one.yaml"),
        ("dataset_path: json\ndataset_kwargs: {data_files: a.json, field: rows}\n", "one.yaml"),
        (
            "custom_dataset: !function fin_plugins.tasks.own.load\n"
            "dataset_kwargs: {hub: owner/letters, labels: [a, b]}\n",
            "owner/letters",
        ),
    ],
)
def test_rows_that_are_not_checked_are_noted(text: str, reason: str) -> None:
    findings, note = row_findings(write("one.yaml", f"task: one\ntest_split: test\n{text}"))
    assert findings == [] and note is not None and note.startswith("rows") and reason in note


def test_groups_python_tasks_and_training_files_have_no_rows() -> None:
    write("group.yaml", "group: all\ntask: [one]\n")
    write("python.yaml", "task: one\nclass: !function somewhere.Task\n")
    write("run.yaml", "model: demo\ntasks: [fin_fomc]\n")
    for name in ("group.yaml", "python.yaml", "run.yaml"):
        assert row_findings(name) == ([], None)


def test_the_template_is_checked_even_if_rows_are_not() -> None:
    write("one.yaml", 'task: one\ndoc_to_text: "What is it: {{text"\n')
    assert row_codes("one.yaml", CheckOptions(read_rows=False)) == ["P02"]
