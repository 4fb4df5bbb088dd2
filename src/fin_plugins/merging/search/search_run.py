"""A search from its file to the best merge; the same command resumes a search that was stopped."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fin_plugins.common.errors import FinError
from fin_plugins.data import split_guard
from fin_plugins.merging.merge_run import MergeRequest, clear_unfinished_merges, run_merge
from fin_plugins.merging.search.objectives import Objectives
from fin_plugins.merging.search.samplers import Proposals, Weights, propose_weights
from fin_plugins.merging.search.search_config import BEST, SearchConfig, SearchFile
from fin_plugins.merging.search.search_engines import start_engine
from fin_plugins.merging.search.search_setup import PreparedSearch, prepare_search
from fin_plugins.merging.search.stacked_adapters import scratch_folder
from fin_plugins.merging.search.study import (
    Candidate,
    Study,
    best_candidate,
    candidate_to_write,
    open_study,
    penalized_score,
)
from fin_plugins.merging.search.study_report import write_pareto_plot, write_study_table

Progress = Callable[[int, Candidate | None], None]
"""Called with the number of candidates done, and the last one; None before the first one of this run."""
ProgressDisplay = Callable[[int], AbstractContextManager[Progress]]
"""Shows progress while candidates are scored; called with the number of candidates."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        folder: folder of the study.
        config: the search.
        study: the study with all candidates.
        seconds: mean time of a candidate; None if this run scored none.
        sample: whether embedded sample rows were scored, so that nothing is a benchmark.
    """

    folder: Path
    config: SearchConfig
    study: Study
    seconds: float | None
    sample: bool

    @property
    def best(self) -> Candidate | None:
        """The best candidate that keeps the floor."""
        return best_candidate(self.study.candidates, self.config.floor)


@dataclass(frozen=True)
class SearchEstimate:
    """What a search would take.

    Attributes:
        candidates: number of candidates.
        passes: maximum number of rows and prompts per candidate.
        seconds: time of a candidate, estimated from that of the base.
        base: score of the base by task.
    """

    candidates: int
    passes: int
    seconds: float
    base: dict[str, float]


def _no_display(count: int) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, last: None)


def run_search(search_file: SearchFile, *, fresh: bool = False, display: ProgressDisplay = _no_display) -> SearchResult:
    """Search for weights, or resume a search that was stopped; writes the study, its reports and the best merge.

    Args:
        search_file: the search file.
        fresh: discard an existing study.
        display: shows progress.

    Raises:
        FinError: something is wrong with the file, the models, the rows, or the existing study.
    """
    config, folder = search_file.config, search_file.output
    clear_unfinished_merges(folder)
    with split_guard.block_test_split():
        prepared = prepare_search(config)
        with open_study(folder, prepared.header, fresh=fresh) as study:
            seconds = _score_candidates(config, prepared, study, display)
            sample = "sample" in prepared.rows.data_modes.values()
            write_study_table(folder, search_file.name, config, study, sample=sample)
            write_pareto_plot(folder, search_file.name, config, study)
            _write_best_merge(folder / BEST, config, study)
    return SearchResult(folder, config, study, seconds, sample)


def estimate_search(search_file: SearchFile) -> SearchEstimate:
    """Score the base alone and estimate what the search would take; writes nothing.

    Raises:
        FinError: as for `run_search`.
    """
    config = search_file.config
    with split_guard.block_test_split():
        prepared = prepare_search(config)
        with _running_objectives(config, prepared) as objectives:
            start = time.monotonic()
            base = objectives.score_base()
            seconds = time.monotonic() - start
    rows = prepared.rows
    per_pass = seconds / (rows.labelled + len(rows.prompts))
    return SearchEstimate(config.count, rows.passes, per_pass * rows.passes, base)


def _score_candidates(
    config: SearchConfig, prepared: PreparedSearch, study: Study, display: ProgressDisplay
) -> float | None:
    """Score the remaining candidates; returns the mean time of one."""
    sampler = propose_weights(config)
    done = len(study.candidates)
    weights = _replay(sampler, study, config)
    if done >= config.count:
        return None
    with _running_objectives(config, prepared) as objectives:
        base = objectives.score_base()
        if study.base is None:
            study.add_base(base)
        start = time.monotonic()
        with display(config.count) as progress:
            progress(done, None)
            for number in range(done, config.count):
                candidate = objectives.score_candidate(number, weights)
                study.add(candidate)
                progress(number + 1, candidate)
                if number + 1 < config.count:
                    weights = sampler.send(penalized_score(candidate, config.floor))
        return (time.monotonic() - start) / (config.count - done)


def _replay(sampler: Proposals, study: Study, config: SearchConfig) -> Weights:
    """Send the logged values to the sampler; returns the next weights.

    Raises:
        FinError: the sampler proposes other weights than those logged.
    """
    weights = next(sampler)
    for candidate in study.candidates:
        if candidate.weights != weights:
            raise FinError(
                f"{study.file}: candidate {candidate.candidate} is not of this search: --fresh to begin again"
            )
        try:
            weights = sampler.send(penalized_score(candidate, config.floor))
        except StopIteration:
            break  # the grid is complete
    return weights


@contextmanager
def _running_objectives(config: SearchConfig, prepared: PreparedSearch) -> Iterator[Objectives]:
    """Start the engine, and stop it at the end."""
    with scratch_folder(prepared.adapters.candidate_bytes) as scratch:
        engine = start_engine(config, prepared.adapters, scratch)
        try:
            yield Objectives(engine, prepared.recipe, prepared.rows, config.metric)
        finally:
            engine.stop()


def _write_best_merge(folder: Path, config: SearchConfig, study: Study) -> None:
    best = candidate_to_write(study.candidates, config)
    if best is None:
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier study
        return
    request = MergeRequest(
        recipe=config.recipe,
        base=config.base,
        experts=tuple(f"{expert}={entry.path}" for expert, entry in config.experts.items()),
        weights=tuple(f"{expert}={weight}" for expert, weight in best.weights.items()),
        any_base=config.any_base,
        as_adapter=True,
    )
    run_merge(request, folder, force=True)
