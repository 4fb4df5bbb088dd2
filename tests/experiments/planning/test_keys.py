"""Keys are of content: what hangs on a change gets another one, and nothing else does."""

import shutil
from pathlib import Path

import pytest

from fin_plugins.experiments.planning.identity import Tasks, model_content
from tests.experiments.planning.worlds import World

TRAINED = {"train-m-head", "train-m-let", "train-m-multi"}
MERGED = {"merge-m-both", "merge-m-dense"}
SCORED = {"score-m", "score-m-head", "score-m-let", "score-m-multi", "score-m-both", "score-m-dense"}
ALL = TRAINED | MERGED | SCORED | {"board-m"}


def keys(world: World, **changes: object) -> dict[str, str]:
    """The key in each marker, by the marker's name."""
    markers = [Path(path).stem for step in world.plan(**changes).steps for path in step.markers]
    return {name: key for name, _, key in (marker.rpartition("-") for marker in markers)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if after[name] != before[name]}


def test_the_same_again(world: World) -> None:
    assert keys(world) == keys(world) and keys(world).keys() == ALL


def test_an_instruction_reaches_what_is_trained_or_scored_with_it(world: World) -> None:
    before = keys(world)
    world.edit(world.task("headlines"), "  Classify the following", "  Please classify the following")
    # Every model is scored on it; the training on the other task alone is not touched.
    assert changed(before, keys(world)) == ALL - {"train-m-let"}


def test_a_task_that_is_only_scored(world: World) -> None:
    world.said["training"].pop("let")
    world.said["training"].pop("multi")
    world.said |= {"merges": {}, "board": {}}
    before = keys(world)
    world.edit(world.task("letters"), "doc_to_text: |\n", "doc_to_text: |\n  Read well.\n")
    assert changed(before, keys(world)) == {"score-m", "score-m-head", "board-m"}


def test_test_rows_train_nothing_anew(world: World) -> None:
    before = keys(world)
    (first, *rest) = (world.root / "headlines" / "test.csv").read_text().splitlines()
    (world.root / "headlines" / "test.csv").write_text("\n".join([first, *rest[:-1]]) + "\n")
    assert changed(before, keys(world)) == SCORED | {"board-m"}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_rows_that_are_learnt_from_or_chosen_by(split: str, world: World) -> None:
    before = keys(world)
    file = world.root / "letters" / f"{split}.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    assert changed(before, keys(world)) == ALL - {"train-m-head", "score-m", "score-m-head"}


def test_train_rows_count_for_few_shot_examples(world: World) -> None:
    before = keys(world, fewshot=[0, 2])
    file = world.root / "letters" / "train.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    assert "score-m-2shot" in changed(before, keys(world, fewshot=[0, 2]))


def test_weights_change_everything(world: World) -> None:
    before = keys(world)
    (world.model / "config.json").write_text('{"model_type": "qwen2"}')
    assert changed(before, keys(world)) == ALL


def test_one_training_file(world: World) -> None:
    before = keys(world)
    (world.root / "letters_training.yaml").open("a").write("learning_rate: 3e-4\n")
    assert changed(before, keys(world)) == {"train-m-let", *MERGED, *SCORED, "board-m"} - {
        *("score-m", "score-m-head", "score-m-multi"),
    }


def test_one_merge(world: World) -> None:
    before = keys(world)
    world.said["merges"]["both"]["weights"]["head"] = 0.5
    assert changed(before, keys(world)) == {"merge-m-both", "score-m-both", "board-m"}


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
def test_what_the_experiment_says(changes: dict[str, object], names: set[str], world: World) -> None:
    assert changed(keys(world), keys(world, **changes)) == names


def test_places_and_remarks_do_not_count(world: World, tmp_path: Path) -> None:
    before = keys(world)
    world.edit(world.task("headlines"), "task: headlines", "# a remark\ntask: headlines")
    (world.root / "headlines_training.yaml").open("a").write("# another\noutput: some/where\n")
    (world.model / "README.md").write_text("of the model")
    assert keys(world) == before
    shutil.copytree(world.root / "headlines", world.root / "moved")
    (world.root / "moved" / "headlines.yaml").rename(world.root / "moved" / "again.yaml")
    world.edit(world.root / "moved" / "headlines_gen.yaml", "include: headlines.yaml", "include: again.yaml")
    again = str(world.root / "moved" / "again.yaml")
    world.said["tasks"]["seen"] = [again]
    world.edit(world.root / "headlines_training.yaml", str(world.task("headlines")), again)
    assert keys(world) == before


def test_a_function_beside_the_task_counts_by_what_it_says(world: World) -> None:
    world.edit(world.task("letters"), "doc_to_target: gold", "doc_to_target: !function own.target")
    (world.root / "letters" / "own.py").write_text("def target(doc):\n    return doc['gold']\n")
    before = keys(world)
    assert keys(world) == before
    (world.root / "letters" / "own.py").write_text("def target(doc):\n    return int(doc['gold'])\n")
    assert changed(before, keys(world)) == ALL - {"train-m-head"}


def test_a_name_in_a_training_file_means_the_shipped_task(world: World) -> None:
    copy = world.root / "headlines" / "headlines.yaml"
    world.edit(copy, "task: headlines", "task: fin_fomc")
    tasks = Tasks([str(copy)], "sample")
    assert tasks.scored(str(copy))[0].file == copy
    (shipped,) = tasks.trained("fin_fomc")
    assert (
        shipped.file.parent.name == "fin"
        and shipped.trained()["rows"][0] != tasks.scored("fin_fomc")[0].trained()["rows"][0]
    )


def test_sample_and_real_rows_are_not_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIN_DATA_DIR", str(tmp_path))
    (sample,), (real,) = (Tasks(["fin_deal"], data).scored("fin_deal") for data in ("sample", "real"))
    assert sample.scored(0)["says"] == real.scored(0)["says"]
    assert sample.scored(0)["rows"] != real.scored(0)["rows"] != [None, None]  # by what they will be built from
    assert sample.rows("test").count > 0 and real.rows("test").count == 0  # type: ignore[union-attr]
    assert sample.seen is False and sample.rows("training") is None


def test_a_group_is_its_tasks_each_once() -> None:
    tasks = Tasks(["fin_seen", "fin_fomc"], "sample")
    names = [task.name for task in tasks.scored("fin_seen", "fin_fomc", "fin_sentiment")]
    assert names == ["fin_fpb", "fin_fiqa", "fin_headline", "fin_finred", "fin_fomc"]
    assert tasks.twin(tasks.scored("fin_fomc")[0]).name == "fin_fomc_gen"  # type: ignore[union-attr]


def test_a_model_of_the_hub_is_its_name_and_revision() -> None:
    assert model_content("org/name") == {"hub": "org/name", "revision": None}
    assert model_content("org/name", "abc") != model_content("org/name")
