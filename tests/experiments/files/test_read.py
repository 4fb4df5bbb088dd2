"""Reading experiment files: each kind of fault at its line, once, before anything is run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fin_plugins.common.errors import FinError
from fin_plugins.experiments.files.read import read_experiment
from tests.experiments.files import reading
from tests.experiments.files.reading import PLAIN, problems

file = reading.file
UNSEEN = "fin_argument, marked as unseen: `fin train` refuses that"


def test_what_a_file_says(file: Path) -> None:
    read = read_experiment(str(file))
    config = read.config
    assert (read.name, read.output) == ("mine", Path("results/run/mine"))
    assert config.models["small"].model == "demo" and config.models["large"].settings == {"max_length": 512}
    assert config.training["fomc"].file == "single_fomc" and config.training["fomc"].set == {}
    assert config.merges["ties"].weights == {"fomc": 0.7} and config.merges["best"].recipe is None
    assert (config.seeds, config.fewshot, config.rows.data) == ([1, 2], [0, 5], "real")


FAULTS = [
    # What the file itself says.
    ("board:", "bord:", "17 bord: no such key (did you mean board?)"),
    ("train: 40", "trian: 40", "7 rows.trian: no such key (did you mean train?)"),
    ("settings:", "setings:", "3 models.large.setings: no such key (did you mean settings?)"),
    ("weights:", "weigths:", "15 merges.ties.weigths: no such key (did you mean weights?)"),
    ("seeds: [1, 2]", "seeds: [1, -2]", "8 seeds.1: should be greater than or equal to 0"),
    ("  small: demo", "  sm all: demo", "2 models.sm all: should match pattern"),
    ("recipe: ties, ", "recipe: 3, ", "15 merges.ties.recipe: should be a valid string"),
    ("search: {candidates: 5, rows: 20}", "rank: 3", "16 merges.best: name a recipe, or give `search`"),
    # Names of its own.
    ("reference: multi", "reference: mutli", "17 board.reference: mutli: no such training (did you mean multi?)"),
    (
        "best: {experts: [sentiment, fomc]",
        "best: {experts: [sentiment, foo]",
        "16 merges.best.experts.1: foo: no such training; there are sentiment, fomc, multi",
    ),
    (
        "small: demo",
        "small: {model: demo, train: [fom], merge: []}",
        "2 models.small.train.0: fom: no such training",
    ),
    ("small: demo", "small: {model: demo, merge: [bets]}", "2 models.small.merge.0: bets: no such merge (did you"),
    (
        "small: demo",
        "small: {model: demo, train: [fomc]}",
        "2 models.small.train: lacks sentiment, needed to merge ties, best: add it",
    ),
    ("  ties: {", "  multi: {", "15 merges.multi: the name of a training, too"),
    ("seeds: [1, 2]", "seeds: [1, 2, 1]", "8 seeds.2: 1: given twice"),
    ("fewshot: [0, 5]", "fewshot: [5, 5]", "9 fewshot.1: 5: given twice"),
    # Models and the engine's arguments.
    ("owner/name", "./gone", "3 models.large.model: "),
    ("small: demo", "small: {model: a/b, revision: main}", "2 models.small.revision: is for scoring only"),
    ("board:", "scoring: {model_args: {pretrained: x}}\nboard:", "17 scoring.model_args.pretrained: leave it out"),
    ("board:", "scoring: {model_args: {a: [1]}}\nboard:", "17 scoring.model_args.a: should be a number, yes or no"),
    # Tasks.
    ("fin_fiqa, fin_fomc]", "fin_fiqaa, fin_fomc]", "5 tasks.seen.1: fin_fiqaa: no such task (did you mean"),
    ("fin_fiqa, fin_fomc]", "fin_fiqa_gen, fin_fomc]", "answered freely: name the choice task, fin_fiqa; `protocols`"),
    ("unseen: [fin_deal]", "unseen: [fin_deal, fin_finred]", "6 tasks.unseen.1: fin_finred: marked as seen in"),
    ("fin_fiqa, fin_fomc]", "fin_causal, fin_fomc]", "5 tasks.seen.1: fin_causal: marked as unseen in the task's"),
    ("unseen: [fin_deal]", "unseen: [fin_deal, fin_fomc]", "fin_fomc: named before, at tasks.seen.2"),
    ("[fin_fpb, fin_fiqa, fin_fomc]", "[fin_sentiment, fin_fpb]", "5 tasks.seen.1: fin_fpb: named before, at"),
    ("unseen: [fin_deal]", "unseen: [./own.yaml]", "own.yaml: no such task file"),
    # Training files, and what is changed in them.
    ("fomc: single_fomc", "fomc: single_fom", "12 training.fomc.file: single_fom: no such file or shipped"),
    ("epochs: 1", "epoch: 1", "11 training.sentiment.set.epoch: no such key (did you mean epochs?)"),
    ("lora.r: 8", "lora.r: 0", "13 training.multi.set.lora.r: should be greater than 0"),
    ("max_length: 512", "max_length: no", "3 models.large.settings.max_length: should be a"),
    ("epochs: 1", "seed: 1", "11 training.sentiment.set.seed: leave it out: comes from `seeds`"),
    ("[fin_fpb, fin_fomc], lora", "[fin_argument], lora", f"13 training.multi.set.tasks: trains on {UNSEEN}"),
    ("[fin_fpb, fin_fomc], lora", "[fin_deal], lora", "13 training.multi.set.tasks: trains on fin_deal, which this"),
    ("lora.r: 8", "method: dora", "13 training.multi.set.method: method: dora makes an adapter that no engine"),
    ("fomc: single_fomc", "fomc: own_training.yaml", "own_training.yaml:2:9 tasks.0: fin_no: no such task"),
    # Recipes and searches.
    (
        "recipe: ties",
        "recipe: tise",
        "15 merges.ties.recipe: tise: no such file or shipped recipe (did you mean ties?)",
    ),
    ("density: 0.3", "density: 3", "15 merges.ties.set.density: 3: should be from 0 to 1"),
    ("density: 0.3", "densty: 3", "15 merges.ties.set.densty: ties has no parameter densty (did you mean density?)"),
    ("{fomc: 0.7}", "{fomcc: 0.7}", "15 merges.ties.weights.fomcc: no expert is named fomcc (did you mean fomc?)"),
    (
        "recipe: ties, set: {density: 0.3}",
        "recipe: paper_2411.02476",
        "15 merges.ties.recipe: paper_2411.02476: takes exactly the experts finred, fomc, headline, sentiment",
    ),
    ("candidates: 5", "candidtes: 5", "16 merges.best.search.candidtes: no such key (did you mean candidates?)"),
    ("candidates: 5", "candidates: 0", "16 merges.best.search.candidates: should be greater than 0"),
    ("candidates: 5", "output: x", "16 merges.best.search.output: leave it out: the experiment gives it"),
    ("candidates: 5", "unlabelled: no.jsonl", "no.jsonl: no such file"),
    ("fomc], search", "fomc], recipe: ties, search", "16 merges.best.recipe: ties: ties is not a weighted sum"),
    ("fomc], search", "multi], search", "16 merges.best.experts: fin_fpb: named twice; what is left out"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), FAULTS, ids=lambda text: text[:24])
def test_each_fault_is_said_once_and_at_its_line(file: Path, right: str, wrong: str, message: str) -> None:
    Path("own_training.yaml").write_text("model: demo\ntasks: [fin_no]\n")
    assert right in PLAIN
    (found,) = problems(file, PLAIN.replace(right, wrong, 1))
    assert message in re.sub(r"^mine.yaml:(\d+):\d+ ", r"\1 ", found)


def test_all_faults_at_once(file: Path) -> None:
    text = PLAIN
    for right, wrong in (
        ("train: 40", "trian: 40"),
        ("reference: multi", "reference: mutli"),
        ("fin_fiqa, ", "fin_fiqaa, "),
        ("epochs: 1", "epoch: 1"),
        ("density: 0.3", "density: 3"),
        ("candidates: 5", "candidates: 0"),
    ):
        text = text.replace(right, wrong)
    assert [
        ":".join(found.split()[0].split(":")[:2])
        for found in problems(file, text, "seeds=[3, 3]", "merges.ties.dtype=int4")
    ] == [
        *("--set", "--set", "mine.yaml:5", "mine.yaml:7", "mine.yaml:11", "mine.yaml:15"),
        *("mine.yaml:16", "mine.yaml:17"),
    ]


def test_items_of_a_list_keep_their_line_beside_one_that_is_wrong(file: Path) -> None:
    lists = "seen:\n    - 3\n    - fin_fpb\n    - fin_fomcc"
    found = problems(file, PLAIN.replace("seen: [fin_fpb, fin_fiqa, fin_fomc]", lists, 1))
    assert [one.split(": ")[0] for one in found] == ["mine.yaml:6:7 tasks.seen.0", "mine.yaml:8:7 tasks.seen.2"]


def test_changes(file: Path) -> None:
    changes = ["rows.test=5", "models.small.score=false", "training.fomc.set.epochs=3", "models.large=demo"]
    config = read_experiment(str(file), changes).config
    assert config.rows.test == 5 and config.rows.train == 40
    assert config.models["small"].model == "demo" and not config.models["small"].score
    assert (config.training["fomc"].file, config.training["fomc"].set) == ("single_fomc", {"epochs": 3})
    assert config.models["large"].model == "demo"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rows.tset=5", "--set rows.tset=5: no such key (did you mean test?)"),
        ("training.fomc.set.epoch=5", "--set training.fomc.set.epoch=5: no such key (did you mean epochs?)"),
        ("merges.ties.recipe=tise", "--set merges.ties.recipe=tise: tise: no such file or shipped recipe"),
        ("tasks.seen.0=fin_x", "--set tasks.seen.0=fin_x: fin_x: no such task"),
        ("rows", "--set rows: should be KEY=VALUE"),
    ],
)
def test_a_bad_change_is_named_as_typed(file: Path, change: str, message: str) -> None:
    (found,) = problems(file, PLAIN, change)
    assert found.startswith(message)


def test_a_training_may_be_wrong_for_one_model_alone(file: Path) -> None:
    own = "model: demo\ntasks: [fin_fomc]\nbatching: shared_prefix\n"
    Path("own.yaml").write_text(own)
    text = PLAIN.replace("fomc: single_fomc", "fomc: own.yaml").replace("max_length: 512", "loss: all")
    (found,) = problems(file, text)
    assert "training.fomc.file" in found and "own.yaml:3:1 batching: shared_prefix computes" in found


def test_a_file_without_models_or_tasks(file: Path) -> None:
    assert [one.split(" is missing")[0] for one in problems(file, "rows: {test: 3}\n")] == [
        "mine.yaml:1:1 models:",
        "mine.yaml:1:1 tasks:",
    ]


def test_no_such_experiment() -> None:
    with pytest.raises(FinError, match=r"smollm: no such file or shipped experiment \(did you mean smollm2\?\)"):
        read_experiment("smollm")


def test_nothing_heavy_is_imported_where_nothing_is_merged(file: Path) -> None:
    file.write_text("models: {a: demo}\ntasks: {seen: [fin_fomc]}\ntraining: {fomc: single_fomc}\n")
    code = (
        "import sys; from fin_plugins.experiments.files.read import read_experiment; "
        f"read_experiment({str(file)!r}); "
        "print([name for name in ('torch', 'lm_eval', 'mergekit', 'pandas', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
