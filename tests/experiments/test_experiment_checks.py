"""Checks of experiment files: every kind of fault is reported once, with its line, before anything runs."""

import re
from pathlib import Path

import pytest

from tests.experiments.experiment_factories import VALID, problems_of

UNSEEN = "fin_argument, marked as unseen"

FAULTS = [
    # The file's form.
    ("board:", "bord:", "17 bord: no such key (did you mean board?)"),
    ("train: 40", "trian: 40", "7 rows.trian: no such key (did you mean train?)"),
    ("settings:", "setings:", "3 models.large.setings: no such key (did you mean settings?)"),
    ("weights:", "weigths:", "15 merges.ties.weigths: no such key (did you mean weights?)"),
    ("seeds: [1, 2]", "seeds: [1, -2]", "8 seeds.1: should be greater than or equal to 0"),
    ("  small: demo", "  sm all: demo", "2 models.sm all: should match pattern"),
    ("recipe: ties, ", "recipe: 3, ", "15 merges.ties.recipe: should be a valid string"),
    ("search: {candidates: 5, rows: 20}", "rank: 3", "16 merges.best: name a recipe, or give `search`"),
    # Its own names.
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
    ("  ties: {", "  multi: {", "15 merges.multi: a training has this name"),
    ("seeds: [1, 2]", "seeds: [1, 2, 1]", "8 seeds.2: 1: given twice"),
    ("fewshot: [0, 5]", "fewshot: [5, 5]", "9 fewshot.1: 5: given twice"),
    # Models and the engine's arguments.
    ("owner/name", "./gone", "3 models.large.model: "),
    ("small: demo", "small: {model: a/b, revision: main}", "2 models.small.revision: is for scoring only"),
    ("board:", "scoring: {model_args: {pretrained: x}}\nboard:", "17 scoring.model_args.pretrained: leave it out"),
    ("board:", "scoring: {model_args: {a: [1]}}\nboard:", "17 scoring.model_args.a: should be a number, yes or no"),
    # Tasks.
    ("fin_fiqa, fin_fomc]", "fin_fiqaa, fin_fomc]", "5 tasks.seen.1: fin_fiqaa: "),
    (
        "fin_fiqa, fin_fomc]",
        "fin_fiqa_gen, fin_fomc]",
        "5 tasks.seen.1: fin_fiqa_gen: generates its answer: name the choice task, fin_fiqa",
    ),
    ("unseen: [fin_deal]", "unseen: [fin_deal, fin_finred]", "6 tasks.unseen.1: fin_finred: marked as seen in"),
    ("fin_fiqa, fin_fomc]", "fin_causal, fin_fomc]", "5 tasks.seen.1: fin_causal: marked as unseen in the task's"),
    ("unseen: [fin_deal]", "unseen: [fin_deal, fin_fomc]", "fin_fomc: named before, at tasks.seen.2"),
    ("[fin_fpb, fin_fiqa, fin_fomc]", "[fin_sentiment, fin_fpb]", "5 tasks.seen.1: fin_fpb: named before, at"),
    ("unseen: [fin_deal]", "unseen: [./own.yaml]", "6 tasks.unseen.0: "),
    # Training files, and changes of their keys.
    ("fomc: single_fomc", "fomc: single_fom", "12 training.fomc.file: single_fom: "),
    ("epochs: 1", "epoch: 1", "11 training.sentiment.set.epoch: no such key (did you mean epochs?)"),
    ("lora.r: 8", "lora.r: 0", "13 training.multi.set.lora.r: "),
    ("max_length: 512", "max_length: no", "3 models.large.settings.max_length: "),
    ("epochs: 1", "seed: 1", "11 training.sentiment.set.seed: leave it out: `seeds`"),
    ("[fin_fpb, fin_fomc], lora", "[fin_argument], lora", f"13 training.multi.set.tasks: trains on {UNSEEN}"),
    ("[fin_fpb, fin_fomc], lora", "[fin_deal], lora", "13 training.multi.set.tasks: trains on fin_deal, which this"),
    ("lora.r: 8", "method: dora", "13 training.multi.set.method: method: dora"),
    ("fomc: single_fomc", "fomc: own_training.yaml", "own_training.yaml:2:9 tasks.0: fin_no"),
    # Recipes and searches.
    (
        "recipe: ties",
        "recipe: tise",
        "15 merges.ties.recipe: tise: ",
    ),
    ("density: 0.3", "density: 3", "15 merges.ties.set.density: 3: "),
    ("density: 0.3", "densty: 3", "15 merges.ties.set.densty: "),
    ("{fomc: 0.7}", "{fomcc: 0.7}", "15 merges.ties.weights.fomcc: "),
    (
        "recipe: ties, set: {density: 0.3}",
        "recipe: paper_2411.02476",
        "15 merges.ties.recipe: paper_2411.02476: ",
    ),
    ("candidates: 5", "candidtes: 5", "16 merges.best.search.candidtes: no such key (did you mean candidates?)"),
    ("candidates: 5", "candidates: 0", "16 merges.best.search.candidates: "),
    ("candidates: 5", "output: x", "16 merges.best.search.output: leave it out: the experiment sets it"),
    ("candidates: 5", "unlabelled: no.jsonl", "16 merges.best.search.unlabelled"),
    ("fomc], search", "fomc], recipe: ties, search", "16 merges.best.recipe: ties"),
    ("fomc], search", "multi], search", "16 merges.best.experts: fin_fpb"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), FAULTS, ids=lambda text: text[:24])
def test_each_fault_is_reported_once_with_its_line(file: Path, right: str, wrong: str, message: str) -> None:
    Path("own_training.yaml").write_text("model: demo\ntasks: [fin_no]\n")
    assert right in VALID
    (problem,) = problems_of(file, VALID.replace(right, wrong, 1))
    assert message in re.sub(r"^mine.yaml:(\d+):\d+ ", r"\1 ", problem)


def test_all_faults_are_reported_at_once(file: Path) -> None:
    text = VALID
    for right, wrong in (
        ("train: 40", "trian: 40"),
        ("reference: multi", "reference: mutli"),
        ("fin_fiqa, ", "fin_fiqaa, "),
        ("epochs: 1", "epoch: 1"),
        ("density: 0.3", "density: 3"),
        ("candidates: 5", "candidates: 0"),
    ):
        text = text.replace(right, wrong)
    problems = problems_of(file, text, "seeds=[3, 3]", "merges.ties.dtype=int4")
    assert [":".join(problem.split()[0].split(":")[:2]) for problem in problems] == [
        *("--set", "--set", "mine.yaml:5", "mine.yaml:7", "mine.yaml:11", "mine.yaml:15"),
        *("mine.yaml:16", "mine.yaml:17"),
    ]


def test_list_items_have_their_line_even_beside_an_invalid_one(file: Path) -> None:
    items = "seen:\n    - 3\n    - fin_fpb\n    - fin_fomcc"
    problems = problems_of(file, VALID.replace("seen: [fin_fpb, fin_fiqa, fin_fomc]", items, 1))
    locations = [problem.split(": ")[0] for problem in problems]
    assert locations == ["mine.yaml:6:7 tasks.seen.0", "mine.yaml:8:7 tasks.seen.2"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rows.tset=5", "--set rows.tset=5: no such key (did you mean test?)"),
        ("training.fomc.set.epoch=5", "--set training.fomc.set.epoch=5: no such key (did you mean epochs?)"),
        ("merges.ties.recipe=tise", "--set merges.ties.recipe=tise: tise: no such file"),
        ("tasks.seen.0=fin_x", "--set tasks.seen.0=fin_x: fin_x: no such task"),
        ("rows", "--set rows: should be KEY=VALUE"),
    ],
)
def test_an_invalid_setting_is_quoted_as_typed(file: Path, setting: str, message: str) -> None:
    (problem,) = problems_of(file, VALID, setting)
    assert problem.startswith(message)


def test_a_training_may_be_invalid_for_one_model_only(file: Path) -> None:
    Path("own.yaml").write_text("model: demo\ntasks: [fin_fomc]\nbatching: shared_prefix\n")
    text = VALID.replace("fomc: single_fomc", "fomc: own.yaml").replace("max_length: 512", "loss: all")
    (problem,) = problems_of(file, text)
    assert "training.fomc.file" in problem and "own.yaml:3:1 batching: shared_prefix" in problem


def test_a_file_without_models_and_tasks(file: Path) -> None:
    problems = problems_of(file, "rows: {test: 3}\n")
    assert [problem.split(" is missing")[0] for problem in problems] == [
        "mine.yaml:1:1 models:",
        "mine.yaml:1:1 tasks:",
    ]
