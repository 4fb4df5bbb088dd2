"""A column's bootstrap: all models on the same documents, paired by hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.model import METRICS, Column, Documents, Entry, Problem
from fin_plugins.board.statistics.drawn import Drawn
from fin_plugins.stats.joint import Joint, resample


@dataclass(frozen=True)
class Sampled:
    """A column with the replicates of those entries that have documents.

    Attributes:
        column: whose.
        models: with documents, in the column's order.
        gold: gold labels, shape (n,), in the order of the documents' hashes.
        answers: likewise, shape (models, n).
        joint: the metrics of `models`, with replicates.
    """

    column: Column
    models: tuple[str, ...]
    gold: NDArray[np.int64]
    answers: NDArray[np.int64]
    joint: Joint

    @cached_property
    def places(self) -> dict[str, int]:
        """Places of `models`."""
        return {model: place for place, model in enumerate(self.models)}

    @cached_property
    def _reported(self) -> dict[str, dict[str, float]]:
        return {entry.model: entry.reported for entry in self.column.entries}

    def figures(self, model: str) -> Drawn | None:
        """A model's figures: from its documents, else as the harness reported them; None if it is not here."""
        if (place := self.places.get(model)) is not None:
            return Drawn(self.joint.observed[place], self.joint.replicates[place])
        reported = self._reported.get(model)
        if reported is None:
            return None
        return Drawn(np.array([reported.get(metric, np.nan) for metric in METRICS]), None)


@dataclass(frozen=True)
class _Sorted:
    """An entry's outcomes in the order of hashes; entries may be paired where labels, hashes and gold are equal."""

    labels: tuple[str, ...]
    hashes: tuple[str, ...]
    gold: tuple[int, ...]


def sampled(column: Column, draws: int, seed: int) -> tuple[Sampled, list[Problem]]:
    """Draw a column's documents.

    Which documents are drawn depends on the seed and the documents alone, not on the models: a new run in the folder
    leaves the others' intervals as they are. Columns of the same documents share their draws, all others have their
    own.

    Returns:
        The column, and what could not be paired: entries whose documents or gold labels are not those of most others
        in the column, which then count as if they had none.
    """
    groups: dict[_Sorted, list[tuple[Entry, NDArray[np.int64]]]] = {}
    orders: dict[tuple[str, ...], NDArray[np.int64]] = {}
    for entry in column.entries:
        if entry.documents is not None and len(entry.documents.hashes):
            order = _order(entry.documents, orders)
            groups.setdefault(_key(entry, entry.documents, order), []).append((entry, entry.documents.answers[order]))
    if not groups:
        return _without_documents(column, draws), []
    key, chosen = max(groups.items(), key=lambda group: len(group[1]))
    odd = [entry for other, group in groups.items() if other is not key for entry, _ in group]
    gold, answers = np.array(key.gold), np.stack([one for _, one in chosen])
    joint = resample(gold, answers, len(key.labels), draws=draws, seed=_seed(seed, key.hashes))
    models = tuple(entry.model for entry, _ in chosen)
    return Sampled(column, models, gold, answers, joint), [_not_paired(entry) for entry in odd]


def _order(documents: Documents, known: dict[tuple[str, ...], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Places in rising order of the hashes; worked out once for all runs that have the same order."""
    hashes = documents.hashes
    if hashes not in known:
        known[hashes] = np.array(sorted(range(len(hashes)), key=hashes.__getitem__))
    return known[hashes]


def _key(entry: Entry, documents: Documents, order: NDArray[np.int64]) -> _Sorted:
    hashes = tuple(documents.hashes[place] for place in order.tolist())
    return _Sorted(entry.labels, hashes, tuple(documents.gold[order].tolist()))


def _seed(seed: int, hashes: Sequence[str]) -> list[int]:
    """A stream of random numbers for each set of documents."""
    return [seed, int.from_bytes(sha256("\n".join(hashes).encode("utf-8", "surrogatepass")).digest()[:8], "big")]


def _without_documents(column: Column, draws: int) -> Sampled:
    none = np.empty((0, 0), dtype=np.int64)
    joint = Joint(np.empty((0, len(METRICS))), np.empty((0, len(METRICS), draws), dtype=np.float32))
    return Sampled(column, (), none[0:0].ravel(), none, joint)


def _not_paired(entry: Entry) -> Problem:
    said = f"{entry.task}: documents or gold labels are not those of the column's other runs; shown without intervals"
    return Problem(entry.source.file, said, False)
