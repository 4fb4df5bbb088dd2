"""Several files at once: what is found, read, included, named, and said once."""

from pathlib import Path

import pytest

from fin_plugins.checks.find import find
from fin_plugins.checks.model import Function, Spot
from fin_plugins.checks.read import read_task_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import experiment_folder, merge_folder, training_folder
from tests.checks.seeing import seen, short

GOOD = (Path(__file__).parent / "faults" / "_good").read_text()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news.csv").write_bytes((Path(__file__).parent / "faults" / "news.csv").read_bytes())
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return name


def test_includes_are_applied_as_lm_eval_applies_them(folder: Path) -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    write("deep/base", "test_split: test\nmetadata: {version: 1.0, note: x}\ntask_list: [a]\n")
    write("deep/middle.yaml", "include: base\ndescription: from the middle\ntag: [one, two]\n")
    write("other", "description: from the other\nfewshot_split: train\n")
    name = write("top.yaml", "include: [deep/middle.yaml, other]\ntask: top\nmetadata: {version: 2.0}\n")
    read = read_task_file(folder / name, name)
    assert read.findings == [] and read.file is not None
    assert read.file.data == load_yaml(folder / name, resolve_func=False)
    assert read.file.spots["description",] == Spot("other", 1, 1)
    assert read.file.spots["test_split",] == Spot("deep/base", 1, 1)
    assert read.file.spots["tag", 1] == Spot("deep/middle.yaml", 3, 12)
    assert read.file.spots["metadata", "version"] == Spot("top.yaml", 3, 12)
    assert ("metadata", "note") not in read.file.spots
    assert read.file.own == {"task", "metadata"}
    assert [path.name for path in read.file.stated] == ["middle.yaml", "base", "other"]


def test_functions_are_read_and_not_run(folder: Path) -> None:
    write("boom.py", "raise SystemExit\n\ndef choices(row): ...\n")
    name = write("runs.yaml", "task: runs\n" + GOOD.replace("choices\n", "!function boom.choices\n", 1))
    read = read_task_file(folder / name, name)
    assert read.file and read.file.data["doc_to_choice"] == Function("boom.choices")
    assert seen(name) == []


def test_a_function_stands_beside_the_file_that_names_it() -> None:
    write("shared/tools.py", "def choices(row): ...\n")
    write("shared/_base", GOOD.replace("choices\n", "!function tools.choices\n", 1).replace("news.csv", "../news.csv"))
    write("news.yaml", "include: shared/_base\ntask: news_of_mine\n")
    assert short(seen("news.yaml")) == {"F05 dataset_kwargs.file line 4"}  # that one is relative to the task's file
    write("tools.py", "")
    assert short(seen("news.yaml")) == {"F05 dataset_kwargs.file line 4"}


def test_what_is_wrong_in_an_included_file_is_said_once_and_there() -> None:
    write("_shared", GOOD.replace("[good, bad, mixed]", "[good, bad, bad]").replace("    licence: Apache-2.0\n", ""))
    names = [write(f"news_{number}.yaml", f"include: _shared\ntask: my_news_{number}\n") for number in range(3)]
    assert [one.file for one in seen(*names)] == ["_shared", "_shared"]


def test_what_a_task_lacks_is_not_said_again_of_its_twin() -> None:
    write("mine.yaml", "task: mine\n" + GOOD.replace("test_split: test\n", ""))
    gen = "include: mine.yaml\ntask: mine_gen\noutput_type: generate_until\ndoc_to_choice: null\ndoc_to_target: label\n"
    gen += "process_results: !function fin_plugins.tasks.results.score_reply\n"
    gen += "metric_list: !function fin_plugins.tasks.metrics.REPLY\n"
    write("mine_gen.yaml", gen)
    assert [(one.file, one.code) for one in seen("mine.yaml", "mine_gen.yaml")] == [("mine.yaml", "S03")]
    assert [(one.file, one.code) for one in seen("mine_gen.yaml")] == [("mine_gen.yaml", "S03")]


def test_two_files_with_one_name() -> None:
    write("a.yaml", "task: twice\n" + GOOD)
    write("b.yaml", "task: twice\n" + GOOD)
    found = seen("a.yaml", "b.yaml")
    assert [(one.file, one.code) for one in found] == [("b.yaml", "N02")] and "a.yaml" in found[0].message


def test_a_group_of_checked_tasks() -> None:
    for name in ("one", "two"):
        write(f"my_{name}.yaml", f"task: my_{name}\ntag: my_tag\n" + GOOD)
    plain = GOOD.replace("process_results: !function fin_plugins.tasks.results.score_choice\n", "")
    write(
        "my_three.yaml",
        "task: my_three\n" + plain.replace("!function fin_plugins.tasks.metrics.CHOICE", "[{metric: acc}]"),
    )
    group = "group: my_group\ntask: [my_one, my_tag, {task: my_three, num_fewshot: 2}]\naggregate_metric_list:\n"
    write("group.yaml", group + "- {metric: acc, weight_by_size: false}\n")
    tasks = ["my_one.yaml", "my_two.yaml", "my_three.yaml"]
    assert seen("group.yaml", *tasks) == []
    write("group.yaml", group + "- {metric: mcc, weight_by_size: false}\n- {metric: mcc, weight_by_size: false}\n")
    found = {f"{one.code} {one.key}": one.message for one in seen("group.yaml", *tasks)}
    assert "my_three" in found["G05 aggregate_metric_list.0.metric"] and "G07 aggregate_metric_list.1.metric" in found
    assert {one.code for one in seen("group.yaml")} >= {"G01"}


def test_a_metric_that_the_function_never_returns() -> None:
    own = GOOD.replace("metric_list: !function fin_plugins.tasks.metrics.CHOICE", "metric_list: !function my.METRICS")
    listed = "metric_list: !function fin_plugins.tasks.metrics.REPLY"
    write(
        "never.yaml", "task: never\n" + GOOD.replace("metric_list: !function fin_plugins.tasks.metrics.CHOICE", listed)
    )
    found = seen("never.yaml")
    assert {one.code for one in found} == {"M07"} and {one.key for one in found} == {"metric_list"}
    assert {one.message.split("`")[1] for one in found} == {"missing", "ambiguous"}
    write("my.py", "METRICS = []\n")
    write("own.yaml", "task: own\n" + own)
    assert seen("own.yaml") == []


def test_ignoring_one_line_and_a_whole_file() -> None:
    prefix = GOOD.replace("[good, bad, mixed]", "[good, bad, good news]")
    write("line.yaml", "task: one_line\n" + prefix.replace("good news]", "good news]  # fin: ignore L03, because"))
    write("whole.yaml", "# fin: ignore L03 L04\ntask: whole_file\n" + prefix)
    write("other.yaml", "task: other_line  # fin: ignore L03\n" + prefix)
    write("text.yaml", "task: in_text\n" + prefix.replace("  {{text}}", "  # fin: ignore L03\n  {{text}}"))
    assert seen("line.yaml") == []
    assert short(seen("whole.yaml")) == {"I01 - line 1"}
    assert short(seen("other.yaml")) == {"I01 - line 1", "L03 dataset_kwargs.labels.2 line 6"}
    assert short(seen("text.yaml")) == {"L03 dataset_kwargs.labels.2 line 6"}


def test_which_files_a_folder_stands_for(folder: Path) -> None:
    write("b/task.yaml", "task: here\n" + GOOD)
    write("b/template.yaml", GOOD)
    write("b/uses.yaml", "include: template.yaml\ntask: uses\n")
    write("broken.yaml", "task: [\n")
    write("compose.yaml", "version: 3\nservices: {}\n")
    write(".hidden/task.yaml", "task: hidden\n")
    found, notes = find([".", "b/task.yaml", str(folder / "b" / "uses.yaml")])
    assert [one.name for one in found] == ["b/task.yaml", "b/uses.yaml", "broken.yaml"]
    assert notes == ["compose.yaml: left out: no task, group or training file"]
    for path in ("gone", "b/gone.yaml", "x\0y", "x" * 5000):
        with pytest.raises(FinError, match="no such file or folder"):
            find([path])
    (folder / "empty").mkdir()
    with pytest.raises(FinError, match=r"no \.yaml file"):
        find(["empty"])


def test_experiments_and_searches_are_no_training_files(folder: Path) -> None:
    write("experiment.yaml", (experiment_folder() / "demo.yaml").read_text())
    write("search.yaml", (merge_folder() / "search" / "pair.yaml").read_text())
    write("training.yaml", (training_folder() / "demo.yaml").read_text())
    found, notes = find(["."])
    assert [one.name for one in found] == ["training.yaml"] and len(notes) == 2
    for name in ("experiment.yaml", "search.yaml"):
        assert [one.code for one in read_task_file(Path(name), name).findings] == ["K04"]


def test_a_file_that_cannot_be_opened() -> None:
    Path("gone.yaml").symlink_to("nowhere")
    assert short(seen("gone.yaml")) == {"Y09 - line 1"}


def test_python_tasks_are_left_to_python() -> None:
    write("tools.py", "class Mine: ...\n")
    write("mine.yaml", "task: my_class\nclass: !function tools.Mine\nrecipe: anything\n")
    assert seen("mine.yaml") == []
    write("mine.yaml", "task: my_class\nclass: !function tools.Yours\nrecipe: anything\n")
    assert short(seen("mine.yaml")) == {"F04 class line 2"}


def test_a_plain_task_of_somebody_else_is_held_to_lm_evals_rules_only() -> None:
    plain = "task: plain_one\ndataset_path: imdb\ntest_split: test\nfewshot_split: test\noutput_type: multiple_choice\n"
    plain += "doc_to_text: '{{text}}'\ndoc_to_choice: ['no', 'no idea']\ndoc_to_target: label\n"
    write("plain.yaml", plain)
    assert seen("plain.yaml") == []


def test_names_that_a_tasks_own_module_registers_are_known() -> None:
    write("tools.py", 'from lm_eval.api.registry import register_filter\n\n@register_filter("mine")\nclass Mine: ...\n')
    filters = "filter_list:\n- {name: one, filter: [{function: mine}]}\nprocess_docs: !function tools.Mine\n"
    write("news.yaml", "task: registers\n" + GOOD + filters)
    assert seen("news.yaml") == []
    write("tools.py", "class Mine: ...\n")
    assert {one.code for one in seen("news.yaml")} == {"M09"}
