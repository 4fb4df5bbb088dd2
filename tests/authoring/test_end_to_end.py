"""A task made by `fin task new` can be evaluated, trained on and shown on the board, without any registration."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from tests.conftest import result_file, samples

pytestmark = pytest.mark.usefixtures("one_thread")

FIRMS = ("Acme", "Borea", "Cella", "Dorn", "Elko", "Fyra", "Gant", "Holm")
NEWS = {"1": ("wins an order", "lifts its outlook"), "0": ("cuts jobs", "warns on profit"), "2": ("names a chair",)}
TAGGED = "include: mine.yaml\ntask: tagged\ntag: my_tag\n"
GROUP = """
group: my_group
task: [mine, tagged]
aggregate_metric_list: [{metric: acc, weight_by_size: false}, {metric: macro_f1, weight_by_size: false}]
"""


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(fin, list(map(str, words)))
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, their task, a tagged task that includes it, and a group."""
    folder = tmp_path_factory.mktemp("own")
    rows = [(f"{firm} {news}", label) for firm in FIRMS for label, events in NEWS.items() for news in events]
    (folder / "rows.csv").write_text("headline,mood\n" + "".join(f"{text},{label}\n" for text, label in rows))
    words = ["--alias", "0=negative", "--alias", "1=positive", "--alias", "2=neutral", "--licence", "CC0-1.0"]
    run("task", "new", "mine", "--data", folder / "rows.csv", "--out", folder, *NAMED, "--seen", *words)
    (folder / "tagged.yaml").write_text(TAGGED)
    (folder / "group.yaml").write_text(GROUP)
    return folder


NAMED = ["--text", "headline", "--label", "mood"]


def arguments(folder: Path, model: Path, tasks: str, results: str) -> list[str]:
    model_options = ["--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    where = ["--include_path", str(folder), "--output_path", str(folder / results)]
    return ["--tasks", tasks, *model_options, *where, "--log_samples", "--limit", "6"]


@pytest.fixture(scope="module")
def evaluated(folder: Path, tiny_models: dict[str, Path]) -> Path:
    """Results of `fin eval` for the group and the generative variant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [])  # lm-eval's command line is run in this process
        run("eval", *arguments(folder, tiny_models["base"], "my_group,mine_gen", "results"))
    return folder / "results"


def test_fin_eval_scores_the_group_and_the_generative_variant(evaluated: Path) -> None:
    read = result_file(evaluated)
    choice, reply = read["results"]["mine"], read["results"]["mine_gen"]
    assert {"acc,none", "macro_f1,none", "macro_f1_stderr,none", "mcc,none"} <= set(choice)
    assert reply["missing,none"] + reply["ambiguous,none"] <= 1
    assert read["results"]["my_group"]["acc,none"] == pytest.approx(choice["acc,none"])
    fin_entry = read["configs"]["mine"]["metadata"]["fin"]
    assert fin_entry["seen"] is True and fin_entry["data"] == "real" and set(fin_entry["content_hash"]) == SPLITS
    assert "def macro_f1(" in json.dumps(read["configs"]["mine"]["metric_list"])
    (first, *_), (generated, *_) = samples(evaluated, "mine"), samples(evaluated, "mine_gen")
    assert first["doc"] == generated["doc"]
    assert first["doc"]["choices"] == ["negative", "positive", "neutral"]
    assert first["arguments"]["gen_args_0"]["arg_0"].endswith(f"Headline: {first['doc']['text']}\nlabel:")


SPLITS = {"train", "validation", "test"}


def test_the_board_shows_it_on_its_side(evaluated: Path, tmp_path: Path) -> None:
    run("board", evaluated, "--out", tmp_path)
    columns = {column["key"]: column for column in json.loads((tmp_path / "board.json").read_text())["columns"]}
    assert {"mine", "mine_gen", "tagged"} <= set(columns)
    assert all(column["seen"] is True for column in columns.values())


@pytest.mark.prove
def test_plain_lm_eval_gives_the_same_scores(folder: Path, tiny_models: dict[str, Path], evaluated: Path) -> None:
    command = [str(Path(sys.executable).parent / "lm_eval")]
    command += arguments(folder, tiny_models["base"], "my_tag,mine_gen", "plain")
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd="/")
    assert done.returncode == 0, done.stderr[-2000:]
    plain, ours = result_file(folder / "plain")["results"], result_file(evaluated)["results"]
    for metric in ("acc,none", "macro_f1,none", "macro_f1_stderr,none"):
        assert plain["tagged"][metric] == ours["mine"][metric]
        assert plain["mine_gen"][metric] == ours["mine_gen"][metric]


def test_fin_train_accepts_its_path(folder: Path, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    settings = {"model": str(tiny_models["base"]), "tasks": [str(folder / "mine.yaml")], "max_steps": 1}
    small = {"lora": {"r": 2}, "validation": {"rows": 2}, "dtype": "float32", "batch_size": 2}
    file.write_text(json.dumps({**settings, **small, "output": str(tmp_path / "adapter")}))
    output = run("train", file)
    assert f"--tasks mine --include_path {folder}" in output
    record = json.loads((tmp_path / "adapter" / "train.json").read_text())
    (task,) = record["tasks"]
    assert (task["task"], task["seen"], task["licence"], task["origin"]) == ("mine", True, "CC0-1.0", "real")
    assert task["available"] == 25 and set(task["rows_hash"]) == SPLITS
