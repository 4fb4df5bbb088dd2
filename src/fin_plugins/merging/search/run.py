"""A search from its file to the best merge: scored, logged, drawn, written."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.data import guard
from fin_plugins.merging.output import clear_merges
from fin_plugins.merging.search import choice
from fin_plugins.merging.search.config import BEST, SearchConfig
from fin_plugins.merging.search.prepare import Prepared, prepare
from fin_plugins.merging.search.read import Configured
from fin_plugins.merging.search.samplers import Proposals, proposals
from fin_plugins.merging.search.study import Candidate, Study, opened

Progress = Callable[[int, Candidate | None], None]
"""Told how many candidates are done, and the last one; None before the first of this run."""
Shown = Callable[[int], AbstractContextManager[Progress]]
"""Shows progress while candidates are scored; given how many there are."""


@dataclass(frozen=True)
class Found:
    """What a search has come to.

    Attributes:
        folder: of the study.
        config: what was searched.
        study: all candidates.
        seconds: a candidate took, on average; None where none was scored in this run.
        sample: whether there are embedded rows among those scored, so that nothing is a benchmark.
    """

    folder: Path
    config: SearchConfig
    study: Study
    seconds: float | None
    sample: bool

    @property
    def best(self) -> Candidate | None:
        """The best candidate that keeps the floor."""
        return choice.best(self.study.candidates, self.config.floor)


@dataclass(frozen=True)
class Estimate:
    """What a search would take.

    Attributes:
        candidates: how many.
        passes: rows and prompts that the model is asked for one, at most.
        seconds: a candidate, from the time that the base took.
        base: the base's score by task.
    """

    candidates: int
    passes: int
    seconds: float
    base: dict[str, float]


def _unseen(count: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, last: None)


def search(configured: Configured, *, fresh: bool = False, shown: Shown = _unseen) -> Found:
    """Search, or go on with a search that was stopped.

    Args:
        configured: the search file.
        fresh: throw away what is there.
        shown: shows how far the search is.

    Raises:
        FinError: something is wrong with the file, models, rows, or with the study that is there.
    """
    config, folder = configured.config, configured.output
    clear_merges(folder)
    with guard.test_rows_closed():
        prepared = prepare(config)
        with opened(folder, prepared.header, fresh=fresh) as study:
            seconds = _go_on(config, prepared, study, shown)
            found = Found(folder, config, study, seconds, sample="sample" in prepared.rows.origin.values())
            _write(found, configured.name)
    return found


def estimate(configured: Configured) -> Estimate:
    """Score the base alone, and say what a search would take; nothing is written.

    Raises:
        FinError: as `search`.
    """
    config = configured.config
    with guard.test_rows_closed():
        prepared = prepare(config)
        with _scorer(config, prepared) as scorer:
            start = time.monotonic()
            base = scorer.base()
            taken = time.monotonic() - start
    rows = sum(len(one.gold) for one in prepared.rows.tasks.values())
    passes = prepared.rows.documents()
    return Estimate(config.count, passes, taken * passes / (rows + len(prepared.rows.prompts)), base)


def _go_on(config: SearchConfig, prepared: Prepared, study: Study, shown: Shown) -> float | None:
    """Score the candidates that are still to be scored."""
    proposed = proposals(config)
    done = len(study.candidates)
    weights = _told(proposed, study, config)
    if done >= config.count:
        return None
    with _scorer(config, prepared) as scorer:
        base = scorer.base()
        if study.base is None:
            study.add_base(base)
        start = time.monotonic()
        with shown(config.count) as progress:
            progress(done, None)
            for number in range(done, config.count):
                candidate = scorer.candidate(number, weights)
                study.add(candidate)
                progress(number + 1, candidate)
                if number + 1 < config.count:
                    weights = proposed.send(choice.value(candidate, config.floor))
        return (time.monotonic() - start) / (config.count - done)


def _told(proposed: Proposals, study: Study, config: SearchConfig) -> dict[str, float]:
    """Tell the sampler what was logged; the next weights.

    Raises:
        FinError: it would have proposed other weights than those logged.
    """
    weights = next(proposed)
    for candidate in study.candidates:
        if candidate.weights != weights:
            raise FinError(
                f"{study.file}: candidate {candidate.candidate} is not of this search: --fresh to begin again"
            )
        try:
            weights = proposed.send(choice.value(candidate, config.floor))
        except StopIteration:
            break  # the whole grid
    return weights


@contextmanager
def _scorer(config: SearchConfig, prepared: Prepared) -> Iterator[Any]:
    """The engine, running, and what asks it."""
    from fin_plugins.merging.search.candidates import scratch_folder
    from fin_plugins.merging.search.engines import start_engine
    from fin_plugins.merging.search.scored import Scorer

    with scratch_folder(prepared.stack.room) as scratch:
        engine = start_engine(config, prepared.stack, scratch)
        try:
            yield Scorer(engine, prepared.method, prepared.rows, config.metric)
        finally:
            engine.stop()


def _write(found: Found, name: str) -> None:
    """The table, the plot, and the best merge as one adapter."""
    from fin_plugins.merging.run import Asked, merge
    from fin_plugins.merging.search.plot import plot
    from fin_plugins.merging.search.report import write_report

    write_report(found.folder, name, found.config, found.study, sample=found.sample)
    plot(found.folder, name, found.config, found.study)
    config = found.config
    best = choice.written(found.study.candidates, config)
    if best is None:
        shutil.rmtree(found.folder / BEST, ignore_errors=True)  # of an earlier study
        return
    asked = Asked(
        recipe=config.recipe,
        base=config.base,
        experts=tuple(f"{expert}={entry.path}" for expert, entry in config.experts.items()),
        weights=tuple(f"{expert}={weight}" for expert, weight in best.weights.items()),
        any_base=config.any_base,
        as_adapter=True,
    )
    merge(asked, found.folder / BEST, force=True)
