"""A merge in words: the filled-in recipe, and what came out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fin_plugins.merging.checkpoint.error import finer
from fin_plugins.merging.model import Filled

_NOTABLE = 0.05  # error of the change from which a way out is named


def printed(filled: Filled, *, as_json: bool = False) -> str:
    """The filled-in recipe, as mergekit-yaml takes it; a comment says how."""
    if as_json:
        return json.dumps(filled.config, indent=1, ensure_ascii=False) + "\n"
    adapters = " --lora-merge-cache DIR --lora-merge-dtype float32" if _adapters(filled) else ""
    head = f"# {filled.recipe}, filled in. By itself: mergekit-yaml FILE OUT --random-seed {filled.seed}{adapters}\n"
    return head + yaml.safe_dump(filled.config, sort_keys=False, allow_unicode=True, width=10_000)


def told(record: Mapping[str, Any], out: Path) -> str:
    """What came out, in a few lines."""
    names = ", ".join(expert["name"] for expert in record["experts"])
    lines = [f"{out}: {record['recipe']} of {names}; {record['dtype']}, {record['seconds']:.0f} s"]
    if record["result"] == "adapter":
        return "\n".join([*lines, *_of_adapter(record)])
    return "\n".join([*lines, *_of_checkpoint(record)])


def _of_checkpoint(record: Mapping[str, Any]) -> list[str]:
    size, error = record["size_of_change"], record["error_of_change"]
    lines = [f"  {record['tensors']} tensors, {record['bytes'] / 1e9:.2f} GB"]
    if error["overall"] is None:
        return [*lines, "  the merge changes nothing: it is the base"]
    changed = {group: share for group, share in error["groups"].items() if share is not None}
    worst = max(changed, key=lambda group: changed[group])
    lines.append(f"  change of the base: {size:.2%} of its norm")
    lines.append(
        f"  error of the change by rounding to {record['dtype']}: {error['overall']:.2%} "
        f"(most in {worst}: {changed[worst]:.2%})"
    )
    if error["overall"] > _NOTABLE:
        ways = finer(record["dtype"], record["held_by_adapter"])
        lines.append(f"  the change is small beside the weights, so that much of it is lost: {ways} keeps it")
    if record["untied"]:
        lines.append("  the output layer has a weight of its own now, which in the base it shares with the embeddings")
    return lines


def _of_adapter(record: Mapping[str, Any]) -> list[str]:
    kind = "the experts' factors side by side" if record["exact"] else "the merged change, factored again"
    return [
        f"  one adapter of rank {record['rank']} on {len(record['layers'])} modules: {kind}",
        f"  error of the change: {record['residual']:.2%} by its rank, {record['rounding']:.3%} by rounding",
        f"  engines need max_lora_rank={record['engine_rank']}; fin eval sets it by itself",
    ]


def _adapters(filled: Filled) -> bool:
    return any(expert.is_adapter for expert in filled.experts)
