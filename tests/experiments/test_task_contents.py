"""Step keys: a change of content changes the keys of exactly the steps that depend on it."""

import shutil
from pathlib import Path

import pytest

from fin_plugins.experiments.model_context import model_content
from fin_plugins.experiments.task_contents import TaskContents
from tests.experiments.experiment_factories import ExperimentFolder, make_experiment_folder

TRAINED = {"train-m-head", "train-m-let", "train-m-multi"}
MERGED = {"merge-m-both", "merge-m-dense"}
SCORED = {"score-m", "score-m-head", "score-m-let", "score-m-multi", "score-m-both", "score-m-dense"}
ALL = TRAINED | MERGED | SCORED | {"board-m"}


def keys(folder: ExperimentFolder, **changes: object) -> dict[str, str]:
    """Key of each marker, by the marker's name."""
    markers = [Path(path).stem for step in folder.plan(**changes).steps for path in step.markers]
    return {name: key for name, _, key in (marker.rpartition("-") for marker in markers)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if after[name] != before[name]}


@pytest.fixture(scope="module")
def original_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys of the unchanged experiment, planned in another folder."""
    return keys(make_experiment_folder(tmp_path_factory.mktemp("original")))


def test_keys_do_not_depend_on_the_folder(folder: ExperimentFolder, original_keys: dict[str, str]) -> None:
    assert keys(folder) == original_keys and original_keys.keys() == ALL


def test_an_instruction_reaches_what_is_trained_or_scored_with_it(
    folder: ExperimentFolder, original_keys: dict[str, str]
) -> None:
    folder.edit(folder.task("headlines"), "  Classify the following", "  Please classify the following")
    # Every model is scored on it; the training on the other task alone is not touched.
    assert changed(original_keys, keys(folder)) == ALL - {"train-m-let"}


def test_a_task_that_is_only_scored(folder: ExperimentFolder) -> None:
    folder.data["training"].pop("let")
    folder.data["training"].pop("multi")
    folder.data |= {"merges": {}, "board": {}}
    before = keys(folder)
    folder.edit(folder.task("letters"), "doc_to_text: |\n", "doc_to_text: |\n  Read well.\n")
    assert changed(before, keys(folder)) == {"score-m", "score-m-head", "board-m"}


def test_test_rows_train_nothing_anew(folder: ExperimentFolder, original_keys: dict[str, str]) -> None:
    (first, *rest) = (folder.root / "headlines" / "test.csv").read_text().splitlines()
    (folder.root / "headlines" / "test.csv").write_text("\n".join([first, *rest[:-1]]) + "\n")
    assert changed(original_keys, keys(folder)) == SCORED | {"board-m"}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_train_and_validation_rows(split: str, folder: ExperimentFolder, original_keys: dict[str, str]) -> None:
    file = folder.root / "letters" / f"{split}.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    assert changed(original_keys, keys(folder)) == ALL - {"train-m-head", "score-m", "score-m-head"}


def test_train_rows_count_for_few_shot_examples(folder: ExperimentFolder) -> None:
    before = keys(folder, fewshot=[0, 2])
    file = folder.root / "letters" / "train.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    assert "score-m-2shot" in changed(before, keys(folder, fewshot=[0, 2]))


def test_weights_change_everything(folder: ExperimentFolder, original_keys: dict[str, str]) -> None:
    (folder.model / "config.json").write_text('{"model_type": "qwen2"}')
    assert changed(original_keys, keys(folder)) == ALL


def test_one_training_file(folder: ExperimentFolder, original_keys: dict[str, str]) -> None:
    (folder.root / "letters_training.yaml").open("a").write("learning_rate: 3e-4\n")
    assert changed(original_keys, keys(folder)) == {"train-m-let", *MERGED, *SCORED, "board-m"} - {
        *("score-m", "score-m-head", "score-m-multi"),
    }


def test_one_merge(folder: ExperimentFolder, original_keys: dict[str, str]) -> None:
    folder.data["merges"]["both"]["weights"]["head"] = 0.5
    assert changed(original_keys, keys(folder)) == {"merge-m-both", "score-m-both", "board-m"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"resources": {"train": {"cores": 7}, "score": {"hours": 1}}}, set()),
        ({"output": "elsewhere"}, set()),
        ({"board": {"reference": "multi", "published": False}}, {"board-m"}),
        ({"rows": {"test": 3}}, SCORED | {"board-m"}),
        ({"protocols": ["generation"]}, SCORED | {"board-m"}),
        ({"scoring": {"batch_size": 2}}, SCORED | {"board-m"}),
        ({"rows": {"train": 5}}, ALL - {"score-m"}),
        ({"seeds": [43]}, ALL - {"score-m"}),
    ],
)
def test_keys_of_the_experiment(
    changes: dict[str, object], names: set[str], folder: ExperimentFolder, original_keys: dict[str, str]
) -> None:
    assert changed(original_keys, keys(folder, **changes)) == names


def test_places_and_comments_do_not_count(
    folder: ExperimentFolder, tmp_path: Path, original_keys: dict[str, str]
) -> None:
    folder.edit(folder.task("headlines"), "task: headlines", "# a comment\ntask: headlines")
    (folder.root / "headlines_training.yaml").open("a").write("# another\noutput: some/where\n")
    (folder.model / "README.md").write_text("of the model")
    assert keys(folder) == original_keys
    shutil.copytree(folder.root / "headlines", folder.root / "moved")
    (folder.root / "moved" / "headlines.yaml").rename(folder.root / "moved" / "again.yaml")
    folder.edit(folder.root / "moved" / "headlines_gen.yaml", "include: headlines.yaml", "include: again.yaml")
    again = str(folder.root / "moved" / "again.yaml")
    folder.data["tasks"]["seen"] = [again]
    folder.edit(folder.root / "headlines_training.yaml", str(folder.task("headlines")), again)
    assert keys(folder) == original_keys


def test_a_function_beside_the_task_counts_by_its_file(folder: ExperimentFolder) -> None:
    folder.edit(folder.task("letters"), "doc_to_target: gold", "doc_to_target: !function own.target")
    (folder.root / "letters" / "own.py").write_text("def target(doc):\n    return doc['gold']\n")
    before = keys(folder)
    assert keys(folder) == before
    (folder.root / "letters" / "own.py").write_text("def target(doc):\n    return int(doc['gold'])\n")
    assert changed(before, keys(folder)) == ALL - {"train-m-head"}


def test_a_name_in_a_training_file_means_the_bundled_task(folder: ExperimentFolder) -> None:
    copy = folder.root / "headlines" / "headlines.yaml"
    folder.edit(copy, "task: headlines", "task: fin_fomc")
    tasks = TaskContents([str(copy)], "sample")
    assert tasks.to_score(str(copy))[0].file == copy
    (bundled,) = tasks.to_train("fin_fomc")
    (custom,) = tasks.to_score("fin_fomc")
    assert bundled.file.parent.name == "fin"
    assert bundled.training_inputs()["rows"][0] != custom.training_inputs()["rows"][0]


def test_sample_and_real_rows_are_not_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    (sample,), (real,) = (TaskContents(["fin_deal"], data).to_score("fin_deal") for data in ("sample", "real"))
    assert sample.scoring_inputs(0)["says"] == real.scoring_inputs(0)["says"]
    assert sample.scoring_inputs(0)["rows"] != real.scoring_inputs(0)["rows"] != [None, None]
    assert sample.rows("test").count > 0 and real.rows("test").count == 0  # type: ignore[union-attr]
    assert sample.seen is False and sample.rows("training") is None


def test_a_group_is_its_tasks_each_once() -> None:
    tasks = TaskContents(["fin_seen", "fin_fomc"], "sample")
    names = [task.name for task in tasks.to_score("fin_seen", "fin_fomc", "fin_sentiment")]
    assert names == ["fin_fpb", "fin_fiqa", "fin_headline", "fin_finred", "fin_fomc"]
    assert tasks.generative_variant(tasks.to_score("fin_fomc")[0]).name == "fin_fomc_gen"  # type: ignore[union-attr]


def test_a_hub_model_counts_by_name_and_revision() -> None:
    assert model_content("org/name") == {"hub": "org/name", "revision": None}
    assert model_content("org/name", "abc") != model_content("org/name")
