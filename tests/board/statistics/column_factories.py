"""Synthetic columns: models of a given skill on the same documents, with partly agreeing answers."""

from collections.abc import Mapping, Sequence

import numpy as np

from fin_plugins.board.board_data import Column, Conditions, Documents, Entry, LoadedRuns, Protocol, Source
from fin_plugins.board.statistics.bootstrap_column import BootstrapColumn, bootstrap_column

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
    """Models by skill, the share of documents they answer correctly; those in `bare` have no documents."""
    rng = np.random.default_rng([n, labels, *task.encode()])
    gold, luck = rng.integers(labels, size=n), rng.random(n)
    conditions = Conditions(data, task, "1.0", "prompt", 0, True, limit)
    entries = []
    for number, (model, skill) in enumerate(skills.items()):
        model_rng = np.random.default_rng([number, *task.encode()])
        # Half of the luck belongs to the document, so that models agree more than by chance, as real ones do.
        answers = np.where((luck + model_rng.random(n)) / 2 < skill, gold, model_rng.integers(-2, labels, n))
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


def without_documents(source: Entry) -> Entry:
    return Entry(**{**vars(source), "documents": None})


def shuffled(source: Entry, seed: int = 5) -> Entry:
    """The same run with its documents in another order."""
    documents = source.documents
    assert documents is not None
    order = np.random.default_rng(seed).permutation(len(documents.hashes))
    shuffled_documents = Documents(
        tuple(documents.hashes[place] for place in order), documents.gold[order], documents.answers[order]
    )
    return Entry(**{**vars(source), "documents": shuffled_documents})


def improved(source: Entry, model: str, count: int) -> Entry:
    """Another model with the same answers, except for `count` more correct ones."""
    documents = source.documents
    assert documents is not None
    answers = documents.answers.copy()
    wrong = np.flatnonzero(answers != documents.gold)[:count]
    answers[wrong] = documents.gold[wrong]
    return Entry(**{**vars(source), "model": model, "documents": Documents(documents.hashes, documents.gold, answers)})


def with_entries(of: Column, *entries: Entry) -> Column:
    return Column(**{**vars(of), "entries": entries})


def draw(of: Column, draws: int = DRAWS, seed: int = 1) -> BootstrapColumn:
    """A column's bootstrap, without any problem."""
    part, problems = bootstrap_column(of, draws, seed)
    assert problems == []
    return part


def reading(*columns: Column) -> LoadedRuns:
    return LoadedRuns(columns, (), ())
