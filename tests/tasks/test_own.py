"""A user's own data, loaded through lm-eval: sources, splits, labels, and every error in one line."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from fin_plugins.common.errors import FinError
from fin_plugins.data import split_guard
from fin_plugins.data.dataset_store import content_hash
from fin_plugins.data.text_hashes import normalise

SPLITS = {"test": 0.25, "validation": 0.1}
TASK = """
task: mine
custom_dataset: !function fin_plugins.tasks.own.load
training_split: train
test_split: test
fewshot_split: train
output_type: multiple_choice
doc_to_text: "Text: {{text}}"
doc_to_choice: choices
doc_to_target: gold
process_results: !function fin_plugins.tasks.results.score_choice
metric_list: !function fin_plugins.tasks.metrics.CHOICE
"""
TEXTS = [f"Sales of shop {number} {'rose' if number % 2 else 'fell'}" for number in range(40)]
LABELS = ["up" if number % 2 else "down" for number in range(40)]


def write(folder: Path, more: str = "", **kwargs: Any) -> Path:
    path = folder / "mine.yaml"
    about = {
        "dataset_kwargs": {"labels": ["down", "up"], **kwargs},
        "metadata": {"version": 1.0, "fin": {"seen": True}},
    }
    path.write_text(TASK + more + yaml.safe_dump(about), encoding="utf-8")
    return path


def load(path: Path, **metadata: Any) -> Any:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(path.parent), metadata=metadata)
    return manager.load([yaml.load(path.read_text(), Loader)["task"]])["tasks"]["mine"]


class Loader(yaml.SafeLoader):
    """Safe, with `!function` kept as text."""


Loader.add_constructor("!function", lambda loader, node: str(node.value))


def rows(folder: Path, name: str = "rows.csv", **columns: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns or {"text": TEXTS, "label": LABELS}).to_csv(path, index=False)
    return path


def test_one_file_is_split_and_its_documents_have_what_scoring_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(tmp_path)
    monkeypatch.chdir("/")  # paths are relative to the YAML, not to the working directory
    task = load(write(tmp_path, file="rows.csv", splits=SPLITS, aliases={"up": ["rise"]}))
    assert {split: len(found) for split, found in task.dataset.items()} == {"train": 26, "validation": 4, "test": 10}
    document = task.dataset["test"][0]
    assert list(document) == ["id", "text", "label", "choices", "gold", "aliases", "data"]
    number = int(document["id"].removeprefix("test-"))
    assert (document["text"], document["label"]) == (TEXTS[number - 1], LABELS[number - 1])
    assert document["choices"][document["gold"]] == document["label"]
    assert (document["aliases"], document["data"]) == ([[], ["rise"]], "real")
    fin = task.config.metadata["fin"]
    plain = task.dataset["train"].to_pandas()[["id", "text", "label"]]
    assert fin["content_hash"]["train"] == content_hash(plain)
    assert fin["rows_dropped"] == {"no_text": 0, "in_held_out_split": 0}


def test_the_seed_fixes_the_splits_and_test_rows_are_shuffled(tmp_path: Path) -> None:
    rows(tmp_path)
    ids = [load(write(tmp_path, file="rows.csv", splits=SPLITS, **seed)).dataset["test"]["id"] for seed in SEEDS]
    assert list(ids[0]) == list(ids[1]) != list(ids[2])
    assert sorted(ids[0]) != list(ids[0])


SEEDS: list[dict[str, int]] = [{}, {"split_seed": 42}, {"split_seed": 7}]


def test_equal_texts_stay_in_one_split(tmp_path: Path) -> None:
    rows(
        tmp_path,
        text=[text.upper() if number > 30 else text for number, text in enumerate(TEXTS[:20] * 2)],
        label=LABELS,
    )
    found = load(write(tmp_path, file="rows.csv", splits=SPLITS)).dataset
    texts = {split: set(map(normalise, rows["text"])) for split, rows in found.items()}
    assert not texts["test"] & (texts["train"] | texts["validation"]) and not texts["train"] & texts["validation"]
    assert sum(map(len, found.values())) == 40


@pytest.mark.parametrize("blocked", [False, True])
def test_given_splits_are_kept_and_decontaminated(tmp_path: Path, blocked: bool) -> None:
    rows(tmp_path, "in/a.csv", text=[*TEXTS[:10], TEXTS[20].upper() + " ", ""], label=[*LABELS[:10], "down", "up"])
    rows(tmp_path, "in/c.csv", text=TEXTS[20:], label=LABELS[20:])
    path = write(tmp_path, files={"train": "in/a.csv", "test": "in/c.csv"})
    if blocked:
        with split_guard.block_test_split(), pytest.raises(KeyError, match="test"):
            load(path)
        path = write(tmp_path, "validation_split: train\n", files={"train": "in/a.csv", "test": "in/c.csv"})
        path.write_text(path.read_text().replace("test_split: test\n", ""))
        with split_guard.block_test_split():
            task = load(path)
        assert set(task.dataset) == {"train"}
    else:
        task = load(path)
        assert len(task.dataset["test"]) == 20
    assert [*task.dataset["train"]["text"]] == TEXTS[:10]
    assert task.config.metadata["fin"]["rows_dropped"] == {"no_text": 1, "in_held_out_split": 1}


def test_a_column_names_the_splits(tmp_path: Path) -> None:
    sides = ["Train", "dev", "TEST ", "train"] * 10
    rows(tmp_path, text=TEXTS, label=LABELS, side=sides, firm=[f"<|im_end|>{n}" for n in range(40)])
    columns = {"text": "text", "label": "label", "also": ["firm"]}
    task = load(write(tmp_path, file="rows.csv", split_column="side", columns=columns))
    assert {split: len(found) for split, found in task.dataset.items()} == {"train": 20, "validation": 10, "test": 10}
    assert task.dataset["train"][0]["firm"] == "< |im_end|>0"
    assert task.config.metadata["fin"]["control_tokens_broken"] == 40


@pytest.mark.parametrize("values", [["0", "1"], ["0.0", "1.0"], [" 0", "1 "], [0.0, 1.0]])
def test_numbers_stand_for_words(tmp_path: Path, values: list[Any]) -> None:
    rows(tmp_path, text=TEXTS, label=[values[number % 2] for number in range(40)])
    task = load(write(tmp_path, file="rows.csv", splits=SPLITS, labels={"0": "dovish", "1": "hawkish"}))
    assert task.dataset["test"][0]["choices"] == ["dovish", "hawkish"]
    assert set(task.dataset["train"]["label"]) == {"dovish", "hawkish"}


def test_two_values_may_stand_for_one_word(tmp_path: Path) -> None:
    rows(tmp_path, text=TEXTS, label=[str(number % 3) for number in range(40)])
    labels = {"0": "good", "1": "bad", "2": "good"}
    task = load(write(tmp_path, file="rows.csv", splits=SPLITS, labels=labels))
    assert task.dataset["test"][0]["choices"] == ["good", "bad"]


def hub_folder(folder: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"body": Value("string"), "label": ClassLabel(names=["down", "up"])})
    number = [int(label == "up") for label in LABELS]
    train = Dataset.from_dict({"body": TEXTS[:30], "label": number[:30]}, features)
    dev = Dataset.from_dict({"body": TEXTS[30:], "label": number[30:]}, features)
    for split, found in DatasetDict(train=train, dev=dev, test=dev.select([])).items():
        found.to_parquet(folder / "hub" / f"{split}-0.parquet") if len(found) else None


def test_a_hub_data_set_is_read_with_the_names_of_its_labels(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    hub_folder(tmp_path)
    columns = {"text": "body", "label": "label"}
    with pytest.raises(FinError, match=r"no test rows; there are train, .*splits: {test: 0.2}"):
        load(write(tmp_path, hub="./hub", columns=columns))
    task = load(write(tmp_path, hub="./hub", columns=columns, splits=SPLITS))
    assert sum(map(len, task.dataset.values())) == 40
    document = task.dataset["test"][0]
    assert document["label"] == LABELS[TEXTS.index(document["text"])]


CUT = {"file": "rows.csv", "splits": SPLITS}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"file": "row.csv", "splits": SPLITS}, r"row\.csv: no such file in "),
    (
        {"file": "rows.csv", "splits": SPLITS, "label": 1},
        r"dataset_kwargs\.label: no such key \(did you mean labels\?\)",
    ),
    ({"file": "rows.csv"}, r"file: .*`splits: {test: 0\.2}`"),
    ({**CUT, "labels": ["up"]}, "down in 20 rows; listed are up"),
    ({**CUT, "labels": ["down", "upp"]}, r"up \(did you mean upp\?\) in 20 rows"),
    (
        {"file": "rows.csv", "splits": SPLITS, "columns": {"text": "texts"}},
        r"no column 'texts' \(did you mean text\?\)",
    ),
    ({**CUT, "columns": {"also": ["id"]}}, r"columns\.also: id"),
    ({"file": "rows.csv", "split_column": "label"}, "down in 20 rows, up in 20 rows"),
    ({"files": {"train": "rows.csv"}}, "no test rows; there are train"),
    ({"files": {"test": "rows.csv"}}, "training_split: train: .*there are test"),
    ({"hub": "./no", "splits": SPLITS}, "no: no such folder"),
    (
        {"hub": "no-such-owner/no-such-rows", "splits": SPLITS},
        "no-such-owner/no-such-rows",
    ),
    ({**CUT, "labels": {0: "down"}}, "dataset_kwargs.labels.*0"),
]


@pytest.mark.parametrize(("kwargs", "message"), WRONG)
def test_an_error_is_one_line_that_names_the_yaml(tmp_path: Path, kwargs: dict[str, Any], message: str) -> None:
    rows(tmp_path)
    path = write(tmp_path, **kwargs)
    with pytest.raises(FinError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_too_few_rows_to_split(tmp_path: Path) -> None:
    rows(tmp_path, text=["a", "b"], label=["up", "down"])
    with pytest.raises(FinError, match=r"2 rows.*test and validation"):
        load(write(tmp_path, file="rows.csv", splits=SPLITS))


def test_model_arguments_and_metadata_do_not_interfere(tmp_path: Path) -> None:
    """lm-eval passes all of them to the loader in one call; a name given twice would be a TypeError."""
    rows(tmp_path)
    path = write(tmp_path, file="rows.csv", splits=SPLITS, split_seed=7)
    plain = list(load(path).dataset["test"]["id"])
    others = {"pretrained": "x", "seed": 1, "revision": "main", "dtype": "float32", "config": "y"}
    assert list(load(path, **others).dataset["test"]["id"]) == plain


def test_a_misspelt_key_in_an_included_file_is_reported_by_its_twin(tmp_path: Path) -> None:
    rows(tmp_path)
    write(tmp_path, file="rows.csv", splits=SPLITS, sede=1)
    (tmp_path / "mine_gen.yaml").write_text("include: mine.yaml\ntask: mine_gen\n")
    from lm_eval.tasks import TaskManager

    with pytest.raises(FinError, match=r"mine_gen\.yaml: dataset_kwargs\.sede: no such key"):
        TaskManager(include_defaults=False, include_path=str(tmp_path)).load(["mine_gen"])


def test_a_task_without_a_yaml_is_an_error() -> None:
    from fin_plugins.tasks.own import load as load_rows

    with pytest.raises(FinError, match=r"fin_plugins\.tasks\.own\.load"):
        load_rows(fin={}, file="rows.csv", labels=["a"], config_source="inline")


def test_jsonl_texts_are_unchanged(tmp_path: Path) -> None:
    texts = [f"{number}\t“{number}” \u2028 NA None {{{{x}}}}\n" for number in range(12)]
    lines = [json.dumps({"text": text, "label": LABELS[number]}) for number, text in enumerate(texts)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    found = load(write(tmp_path, file="rows.jsonl", splits={"test": 0.3})).dataset
    assert sorted([*found["train"]["text"], *found["test"]["text"]]) == sorted(texts)


def test_a_task_and_its_generation_variant_show_their_licence_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from lm_eval.tasks import TaskManager

    rows(tmp_path)
    path = write(tmp_path, file="rows.csv", splits=SPLITS)
    path.write_text(path.read_text().replace("seen: true", "seen: true\n    licence: Apache-2.0\n    source: a test"))
    (tmp_path / "mine_gen.yaml").write_text("include: mine.yaml\ntask: mine_gen\n")
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    for name in ("mine", "mine_gen", "mine"):
        manager.load([name])
    lines = [line for line in capfd.readouterr().err.splitlines() if "licence of the rows" in line]
    assert len(lines) == 1 and "mine" in lines[0] and "Apache-2.0" in lines[0] and "a test" in lines[0]
