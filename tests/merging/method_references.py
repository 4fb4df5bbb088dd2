"""What each method does to one tensor, in float64, written from its paper.

Each takes the base, the experts' changes of it [experts, …], their weights, and the method's parameters. Draws of
random methods are made as mergekit's are, with torch's generator, expert by expert: the mask is then the same.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Reference = Callable[[Tensor, Tensor, Tensor, Mapping[str, float]], Tensor]


def task_arithmetic(base: Tensor, changes: Tensor, weights: Tensor, _: Mapping[str, float]) -> Tensor:
    """θ + Σ wᵢ τᵢ (2212.04089, section 3)."""
    return base + torch.einsum("e,e...->...", weights, changes)


def linear(base: Tensor, changes: Tensor, weights: Tensor, _: Mapping[str, float]) -> Tensor:
    """The weighted average of the models (2203.05482, uniform soup)."""
    return torch.einsum("e,e...->...", weights, base + changes) / weights.sum()


def ties(base: Tensor, changes: Tensor, weights: Tensor, given: Mapping[str, float]) -> Tensor:
    """Trim, elect sign, disjoint mean (2306.01708, algorithm 1)."""
    kept = torch.stack([_largest(change, max(1, int(given["density"] * change.numel()))) for change in changes])
    return base + _elected(kept, weights, mean=True)


def breadcrumbs(base: Tensor, changes: Tensor, weights: Tensor, given: Mapping[str, float]) -> Tensor:
    """Without the largest and the smallest changes (2312.06795, section 3)."""
    kept = torch.stack([_middle(change, given["density"], given["gamma"]) for change in changes])
    return base + torch.einsum("e,e...->...", weights, kept)


def breadcrumbs_ties(base: Tensor, changes: Tensor, weights: Tensor, given: Mapping[str, float]) -> Tensor:
    """The same, adding those of the elected sign."""
    kept = torch.stack([_middle(change, given["density"], given["gamma"]) for change in changes])
    return base + _elected(kept, weights, mean=False)


def dare_linear(base: Tensor, changes: Tensor, weights: Tensor, given: Mapping[str, float]) -> Tensor:
    """Drop at random and rescale (2311.03099, section 3.2)."""
    return base + torch.einsum("e,e...->...", weights, _dropped(changes, given["density"]))


def dare_ties(base: Tensor, changes: Tensor, weights: Tensor, given: Mapping[str, float]) -> Tensor:
    """The same before electing signs."""
    return base + _elected(_dropped(changes, given["density"]), weights, mean=False)


def della(base: Tensor, changes: Tensor, weights: Tensor, given: Mapping[str, float]) -> Tensor:
    """MagPrune, elect, fuse (2406.11617, section 3): the chance to stay rises with the rank within a row."""
    kept = []
    for change in changes:
        rows = change.reshape(-1, change.shape[-1])
        ranks = rows.abs().argsort(1).argsort(1).double() / (rows.shape[1] - 1)
        chances = given["density"] - given["epsilon"] + 2 * given["epsilon"] * ranks
        kept.append(_rescaled(change, torch.bernoulli(chances.float()).reshape(change.shape).double()))
    return base + _elected(torch.stack(kept), weights, mean=True)


def model_stock(base: Tensor, changes: Tensor, _: Tensor, __: Mapping[str, float]) -> Tensor:
    """t·average + (1 - t)·θ, t = N cos θ / (1 + (N - 1) cos θ) (2403.19522, equation 6)."""
    count, flat = len(changes), changes.flatten(1)
    cosines = [
        torch.nn.functional.cosine_similarity(flat[i], flat[j], dim=0)
        for i in range(count)
        for j in range(i + 1, count)
    ]
    cosine = torch.stack(cosines).mean()
    return base + count * cosine / (1 + (count - 1) * cosine) * changes.mean(0)


def slerp(base: Tensor, changes: Tensor, _: Tensor, given: Mapping[str, float]) -> Tensor:
    """Between the models themselves (Shoemake 1985); straight on where the angle is below 1.8 degrees, as usual."""
    first, second = base + changes[0], base + changes[1]
    if (first * second).sum() > 0.9995 * first.norm() * second.norm():
        return (1 - given["t"]) * first + given["t"] * second
    return _arc(first, second, given["t"])


def nuslerp(base: Tensor, changes: Tensor, weights: Tensor, _: Mapping[str, float]) -> Tensor:
    """Between the changes."""
    return base + _arc(changes[0], changes[1], float(weights[1] / weights.sum()))


def multislerp(base: Tensor, changes: Tensor, weights: Tensor, _: Mapping[str, float]) -> Tensor:
    """To the tangent space at the mean direction and back; the length is the mean of lengths (Goddard's post)."""
    flat, shares = changes.flatten(1), weights / weights.sum()
    lengths = flat.norm(dim=1)
    units = flat / lengths[:, None]
    mean = shares @ units
    mean = mean / mean.norm()
    tangent = shares @ (units - (units @ mean)[:, None] * mean)
    size = tangent.norm()
    point = mean * size.cos() + tangent * (size.sin() / size if size > 1e-12 else 1.0)
    return base + (shares @ lengths * point).reshape(base.shape)


def karcher(base: Tensor, changes: Tensor, _: Tensor, __: Mapping[str, float]) -> Tensor:
    """The point to which the arcs from all models add up to nothing, found by gradient steps until they do."""
    flat = (base + changes).flatten(1)
    lengths = flat.norm(dim=1)
    units = flat / lengths[:, None]
    mean = units.mean(0) / units.mean(0).norm()
    for _step in range(200):
        cosines = (units @ mean).clamp(-1, 1)
        arcs = cosines.acos()
        tangent = (torch.where(arcs > 0, arcs / arcs.sin(), 1.0)[:, None] * (units - cosines[:, None] * mean)).mean(0)
        size = tangent.norm()
        mean = mean * size.cos() + tangent * (size.sin() / size if size > 0 else 1.0)
    return (lengths.mean() * mean).reshape(base.shape)


def sce(base: Tensor, changes: Tensor, _: Tensor, given: Mapping[str, float]) -> Tensor:
    """Select by variance, calculate coefficients from squares, erase minority signs (2408.07990, section 3.3)."""
    spread = changes.var(0, unbiased=False)
    selected = changes * _mask(spread, int(given["select_topk"] * int(spread.count_nonzero())))
    shares = selected.square().flatten(1).sum(1)
    shares = (shares / shares.sum()).reshape(-1, *[1] * base.dim())
    agreeing = selected.sign() == torch.where(selected.sum(0) >= 0, 1.0, -1.0)
    total = (shares * agreeing).sum(0)
    return base + (shares * agreeing * selected).sum(0) / torch.where(total > 0, total, 1.0)


def ram(base: Tensor, changes: Tensor, _: Tensor, given: Mapping[str, float]) -> Tensor:
    """What one changed as it is, what several changed averaged over those (2601.13572, section 4)."""
    active = changes.abs() > given["epsilon"]
    return base + (changes * active).sum(0) / active.sum(0).clamp(min=1)


def _largest(change: Tensor, count: int) -> Tensor:
    return change * _mask(change.abs(), count)


def _mask(sizes: Tensor, count: int) -> Tensor:
    mask = torch.zeros(sizes.numel(), dtype=torch.float64)
    mask[sizes.flatten().argsort(descending=True)[:count]] = 1
    return mask.reshape(sizes.shape)


def _middle(change: Tensor, density: float, gamma: float) -> Tensor:
    number = change.numel()
    without_largest = change - _largest(change, int(gamma * number))
    return _largest(without_largest, int(density * number))


def _elected(changes: Tensor, weights: Tensor, *, mean: bool) -> Tensor:
    weighted = torch.einsum("e,e...->e...", weights, changes)
    agreeing = weighted.sign() == torch.where(weighted.sum(0) >= 0, 1.0, -1.0)
    total = torch.einsum("e,e...->...", weights, agreeing.double())
    return (weighted * agreeing).sum(0) / (torch.where(total > 0, total, 1.0) if mean else 1)


def _dropped(changes: Tensor, density: float) -> Tensor:
    masks = [torch.bernoulli(torch.full(change.shape, density)).double() for change in changes]
    return torch.stack([_rescaled(change, mask) for change, mask in zip(changes, masks, strict=True)])


def _rescaled(change: Tensor, mask: Tensor) -> Tensor:
    """The papers divide by the chance to stay; mergekit so that the sum of sizes is kept. Tests compare both."""
    return change * mask * (change.abs().sum() / (change * mask).abs().sum())


def _arc(first: Tensor, second: Tensor, share: float) -> Tensor:
    angle = math.acos(float((first * second).sum() / first.norm() / second.norm()))
    return (math.sin((1 - share) * angle) * first + math.sin(share * angle) * second) / math.sin(angle)


REFERENCES: Mapping[str, Reference] = {
    function.__name__: function
    for function in (
        *(task_arithmetic, linear, ties, breadcrumbs, breadcrumbs_ties, dare_linear, dare_ties, della),
        *(model_stock, slerp, nuslerp, multislerp, karcher, sce, ram),
    )
}
