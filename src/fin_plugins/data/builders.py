"""Raw files → the splits of a data set as published, before cleaning, with stable row ids.

A change here that changes rows raises `store.BUILDER_VERSION`.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fin_plugins.data import raw_relations, raw_text, splitting
from fin_plugins.data.sources import Dataset, locate

Splits = dict[str, pd.DataFrame]
Locate = Callable[[str], Path]


def build(dataset: Dataset, raw: Path) -> Splits:
    """Read a data set's raw files and split its rows.

    Args:
        dataset: which one.
        raw: folder with the raw files, laid out `<owner>/<repo>/<commit>/<path>`; taken as verified.

    Returns:
        One frame a split: `id` (as `fomc-test-00012`), `text`, `label`, and `e1`, `e2` for the relation data sets.
        Ids count the published order. Test rows then stand in a fixed random one: some are published sorted by
        class, and the first N (`--limit N`) should see all of them.
    """
    splits = _BUILDERS[dataset.key](lambda ending: locate(dataset.sources, raw, ending))
    rows = {split: _with_ids(splits[split], dataset.key, split) for split in _ORDER if split in splits}
    return {**rows, "test": splitting.shuffled(rows["test"])}


_ORDER = ("train", "validation", "fewshot", "test")


def _with_ids(frame: pd.DataFrame, key: str, split: str) -> pd.DataFrame:
    ids = [f"{key}-{split}-{number:05d}" for number in range(len(frame))]
    columns = {"id": ids, **{name: frame[name].tolist() for name in frame.columns}}
    return pd.DataFrame(columns)


def _fpb(at: Locate) -> Splits:
    sizes = {"positive": 277, "negative": 116, "neutral": 577}
    return splitting.flare(raw_text.phrasebank(at("Sentences_50Agree.txt")), sizes)


def _fiqa(at: Locate) -> Splits:
    names = {"train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}
    return {split: raw_text.fiqa(at(name)) for split, name in names.items()}


def _headline(at: Locate) -> Splits:
    return splitting.grouped(raw_text.headlines(at("headlines.csv")), validation=928, test=1856)


def _finred(at: Locate) -> Splits:
    names = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
    return {split: raw_relations.finred(at(name)) for split, name in names.items()}


def _finred_paper(at: Locate) -> Splits:
    return splitting.at_random(raw_relations.finred(at("train.txt")), validation=808, test=1616)


def _fomc(at: Locate) -> Splits:
    train = splitting.grouped(raw_text.fomc(at("-train-5768.xlsx")), validation=199)
    return {**train, "test": raw_text.fomc(at("-test-5768.xlsx"))}


def _argument(at: Locate) -> Splits:
    return {
        "train": raw_text.argument_train(at("_Train.json")),
        "validation": raw_text.argument_dev(at("_Dev.json")),
        "test": raw_text.argument_test(at("_Test.json"), at("FinArg.zip")),
    }


def _deal(at: Locate) -> Splits:
    return {"test": raw_text.deal(at("MA.json"))}


def _causal(at: Locate) -> Splits:
    return splitting.draw(raw_text.causal(at("-task1.csv")), 800)


def _causal_full(at: Locate) -> Splits:
    return {"test": raw_text.causal(at("-task1.csv"))}


_BUILDERS: dict[str, Callable[[Locate], Splits]] = {
    "fpb": _fpb,
    "fiqa": _fiqa,
    "headline": _headline,
    "finred": _finred,
    "finred_paper": _finred_paper,
    "fomc": _fomc,
    "argument": _argument,
    "deal": _deal,
    "causal": _causal,
    "causal_full": _causal_full,
}
