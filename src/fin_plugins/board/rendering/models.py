"""The view of one model: its figures on every column, where they come from, and which labels it takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fin_plugins.board.model import Board, Cell, Column
from fin_plugins.board.rendering.arrange import models_of

LARGE = 6  # labels, from which on a matrix is folded away and its heads stand upright


@dataclass(frozen=True)
class Count:
    """A field of a confusion matrix: documents, their share of the gold label's, and whether the answer is right."""

    documents: int
    share: float
    right: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix. Answers outside the label set stand in the last column where there are any.

    Attributes:
        answers: heads of the columns.
        rows: gold label and its fields.
        is_large: too large to stand beside others.
    """

    answers: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Count, ...]], ...]
    is_large: bool


@dataclass(frozen=True)
class Result:
    """A model on one column; `place` is the column's number on the page."""

    place: int
    column: Column
    cell: Cell
    matrix: Matrix | None

    @property
    def is_folded(self) -> bool:
        """Whether the matrix is too large to be shown unasked."""
        return self.matrix is not None and self.matrix.is_large


@dataclass(frozen=True)
class ModelView:
    """One model; `number` is its number on the page, which names its anchor: names may hold any signs."""

    number: int
    name: str
    base: str | None
    results: tuple[Result, ...]


def model_views(board: Board) -> tuple[ModelView, ...]:
    """A view for each model."""
    return tuple(_view(board, number, model) for number, model in enumerate(models_of(board)))


def _view(board: Board, number: int, model: str) -> ModelView:
    results = tuple(
        Result(place, column, cell, _matrix(cell))
        for place, column in enumerate(board.columns)
        if (cell := board.cells.get((column.key, model))) is not None
    )
    bases = [result.cell.entry.base for result in results if result.cell.entry.base]
    return ModelView(number, model, bases[0] if bases else None, results)


def _matrix(cell: Cell) -> Matrix | None:
    if cell.confusion is None:
        return None
    labels = cell.entry.labels
    has_outside = bool(cell.confusion[:, -1].any())
    rows = tuple((label, _fields(cell.confusion[place], place, has_outside)) for place, label in enumerate(labels))
    return Matrix((*labels, *(["no single label"] if has_outside else [])), rows, len(labels) > LARGE)


def _fields(counts: NDArray[np.int64], gold: int, has_outside: bool) -> tuple[Count, ...]:
    shown: Sequence[int] = (counts if has_outside else counts[:-1]).tolist()
    total = max(int(counts.sum()), 1)
    return tuple(Count(number, round(number / total, 2), place == gold) for place, number in enumerate(shown))
