"""Columns of made-up runs: models of a given skill on the same documents, some of whose answers agree."""

from collections.abc import Mapping, Sequence

import numpy as np

from fin_plugins.board.model import Column, Conditions, Documents, Entry, Protocol, Reading, Source
from fin_plugins.board.statistics.sampled import Sampled, sampled

DRAWS = 400


def column(
    skills: Mapping[str, float],
    task: str = "fin_fpb",
    *,
    seen: bool | None = True,
    n: int = 200,
    labels: int = 3,
    protocol: Protocol = "choice",
    data: str = "real",
    limit: str | None = None,
    key: str = "",
    bare: Sequence[str] = (),
) -> Column:
    """Models by skill, the share of documents they know; those in `bare` are without documents."""
    rng = np.random.default_rng([n, labels, *task.encode()])
    gold, luck = rng.integers(labels, size=n), rng.random(n)
    conditions = Conditions(data, task, "1.0", "prompt", 0, True, limit)
    entries = []
    for number, (model, skill) in enumerate(skills.items()):
        own = np.random.default_rng([number, *task.encode()])
        # Half of what decides is the document, the same for all: models agree more than by chance, as real ones do.
        answers = np.where((luck + own.random(n)) / 2 < skill, gold, own.integers(-2, labels, n))
        entries.append(entry(model, gold, answers, conditions, task, seen, protocol, labels))
        if model in bare:
            entries[-1] = without_documents(entries[-1])
    return Column(key or task, task, task, protocol, seen, conditions, "", tuple(entries))


def entry(
    model: str,
    gold: np.ndarray,
    answers: np.ndarray,
    conditions: Conditions,
    task: str = "fin_fpb",
    seen: bool | None = True,
    protocol: Protocol = "choice",
    labels: int = 3,
) -> Entry:
    hashes = tuple(f"{task} {number:05}" for number in range(len(gold)))
    names = tuple(f"label {number}" for number in range(labels))
    reported = {"acc": float(np.mean(gold == answers)), "weighted_f1": 0.5}
    source = Source(f"{model}.json", 0.0, "0.4.13", "vllm")
    documents = Documents(hashes, gold, answers)
    return Entry(model, None, task, protocol, seen, names, len(gold), reported, documents, conditions, source)


def without_documents(one: Entry) -> Entry:
    return Entry(**{**vars(one), "documents": None})


def shuffled(one: Entry, seed: int = 5) -> Entry:
    """The same run, whose documents came in another order."""
    found = one.documents
    assert found is not None
    order = np.random.default_rng(seed).permutation(len(found.hashes))
    mixed = Documents(tuple(found.hashes[place] for place in order), found.gold[order], found.answers[order])
    return Entry(**{**vars(one), "documents": mixed})


def mended(one: Entry, model: str, count: int) -> Entry:
    """Another model that answers alike, and gets `count` more documents right."""
    found = one.documents
    assert found is not None
    answers = found.answers.copy()
    wrong = np.flatnonzero(answers != found.gold)[:count]
    answers[wrong] = found.gold[wrong]
    return Entry(**{**vars(one), "model": model, "documents": Documents(found.hashes, found.gold, answers)})


def with_entries(of: Column, *entries: Entry) -> Column:
    return Column(**{**vars(of), "entries": entries})


def draw(of: Column, draws: int = DRAWS, seed: int = 1) -> Sampled:
    """A column's bootstrap, in which nothing may be amiss."""
    found, problems = sampled(of, draws, seed)
    assert problems == []
    return found


def reading(*columns: Column) -> Reading:
    return Reading(columns, (), ())
