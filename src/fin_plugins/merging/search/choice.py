"""Which candidate is the best: the highest seen score among those that keep the floor."""

from collections.abc import Sequence

from fin_plugins.merging.search.config import Floor, SearchConfig
from fin_plugins.merging.search.study import Candidate

_WEIGHT = 10.0  # what a broken floor counts for beside the score, so that CMA-ES is led back


def broken(candidate: Candidate, floor: Floor) -> float:
    """By how much a candidate falls short of the floor, the parts added up; 0 where it keeps it."""
    short = 0.0
    if floor.leave_out is not None:
        short += max(0.0, floor.leave_out - candidate.leave_out.value)
    if floor.divergence is not None:
        short += max(0.0, candidate.divergence.value - floor.divergence)
    return short


def value(candidate: Candidate, floor: Floor) -> float:
    """What a sampler is told: the seen score, less what the floor is broken by."""
    return candidate.seen.value - _WEIGHT * broken(candidate, floor)


def best(candidates: Sequence[Candidate], floor: Floor) -> Candidate | None:
    """The best candidate, of equal ones the first; None where none keeps the floor."""
    kept = [one for one in candidates if broken(one, floor) == 0]
    return max(kept, key=lambda one: one.seen.value, default=None)


def nearest(candidates: Sequence[Candidate], floor: Floor) -> Candidate:
    """The candidate that falls least short of the floor."""
    return min(candidates, key=lambda one: (broken(one, floor), -one.seen.value))


def written(candidates: Sequence[Candidate], config: SearchConfig) -> Candidate | None:
    """The candidate to write as a merge: the best; where `otherwise: nearest` asks for some merge, the nearest one.

    Returns:
        None where there is none, or where the best is the base alone, all weights being 0.
    """
    if config.otherwise == "nothing":
        found = best(candidates, config.floor)
        return found if found and any(found.weights.values()) else None
    merges = [one for one in candidates if any(one.weights.values())]
    return best(merges, config.floor) or (nearest(merges, config.floor) if merges else None)


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other is better than in both seen score and what is left without an expert, by seen score."""
    ordered = sorted(candidates, key=lambda one: (-one.seen.value, -one.leave_out.value))
    kept: list[Candidate] = []
    for one in ordered:
        if not kept or one.leave_out.value > kept[-1].leave_out.value:
            kept.append(one)
    return kept[::-1]
