"""A merge for people: the resolved recipe, a summary for the terminal, and the model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fin_plugins.common.formatting import duration, size
from fin_plugins.common.markdown import inline_code, single_line, table_cell
from fin_plugins.common.model_card import FILE as CARD
from fin_plugins.common.model_card import front_matter, hub_id, render_markdown
from fin_plugins.merging.merge_error import lossless_options
from fin_plugins.merging.recipes.recipe_model import ResolvedRecipe

_TEMPLATE = Path(__file__).with_name("merge_card.md.jinja")
_NOTABLE_ERROR = 0.05  # rounding error from which the summary names options that keep the change


def format_recipe(recipe: ResolvedRecipe, *, as_json: bool = False) -> str:
    """The resolved recipe as `mergekit-yaml` reads it; a comment shows the command."""
    if as_json:
        return json.dumps(recipe.config, indent=1, ensure_ascii=False) + "\n"
    adapters = any(expert.is_adapter for expert in recipe.experts)
    options = " --lora-merge-cache DIR --lora-merge-dtype float32" if adapters else ""
    command = f"mergekit-yaml FILE OUT --random-seed {recipe.seed}{options}"
    config = yaml.safe_dump(recipe.config, sort_keys=False, allow_unicode=True, width=10_000)
    return f"# {recipe.name}, resolved. To run it with mergekit alone: {command}\n{config}"


def format_summary(metadata: Mapping[str, Any], out: Path) -> str:
    """The result of a merge in a few lines.

    Args:
        metadata: content of `merge.json`.
        out: folder of the result.
    """
    experts = ", ".join(expert["name"] for expert in metadata["experts"])
    lines = [f"{out}: {metadata['recipe']} of {experts}; {metadata['dtype']}, {duration(metadata['seconds'])}"]
    lines += _adapter_lines(metadata) if metadata["result"] == "adapter" else _checkpoint_lines(metadata)
    return "\n".join(lines)


def _checkpoint_lines(metadata: Mapping[str, Any]) -> list[str]:
    error, dtype = metadata["error_of_change"], metadata["dtype"]
    lines = [f"  {metadata['tensors']} tensors, {size(metadata['bytes'])}"]
    if error["overall"] is None:
        return [*lines, "  the merge changes nothing: the result equals the base"]
    groups = {group: share for group, share in error["groups"].items() if share is not None}
    worst = max(groups, key=lambda group: groups[group])
    lines.append(f"  change of the base: {metadata['size_of_change']:.2%} of its norm")
    lines.append(
        f"  error of the change by rounding to {dtype}: {error['overall']:.2%} (most in {worst}: {groups[worst]:.2%})"
    )
    if error["overall"] > _NOTABLE_ERROR:
        options = lossless_options(dtype, metadata["held_by_adapter"])
        lines.append(f"  much of the change is lost because it is small compared with the weights; {options} keeps it")
    if metadata["untied"]:
        lines.append("  the output layer now has its own weight, which in the base it shares with the embeddings")
    return lines


def _adapter_lines(metadata: Mapping[str, Any]) -> list[str]:
    origin = "the experts' factors, concatenated" if metadata["exact"] else "the merged change, factored"
    return [
        f"  one adapter of rank {metadata['rank']} on {len(metadata['layers'])} modules: {origin}",
        f"  error of the change: {metadata['residual']:.2%} by its rank, {metadata['rounding']:.3%} by rounding",
        f"  engines need max_lora_rank={metadata['engine_rank']}; fin eval sets it automatically",
    ]


def write_model_card(metadata: Mapping[str, Any], base_name: str, folder: Path) -> None:
    """Write the model card beside the result.

    Args:
        metadata: content of `merge.json`.
        base_name: the base as the user named it; of a folder, only the last part of its path is published.
        folder: folder of the result.
    """
    hub_name = hub_id(base_name)
    base = hub_name or Path(base_name).name or base_name
    text = render_markdown(
        _TEMPLATE,
        {"parameters": _format_parameters},
        merge=metadata,
        names=[single_line(expert["name"]) for expert in metadata["experts"]],
        base=inline_code(base),
        base_cell=table_cell(base),
        front_matter=_front_matter(metadata, hub_name),
        recipe=front_matter(metadata["config"]),
        accuracy=_accuracy(metadata),
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def _front_matter(metadata: Mapping[str, Any], hub_name: str | None) -> str:
    """The hub's metadata; names the base only if it is on the hub, which rejects anything else."""
    adapter = metadata["result"] == "adapter"
    content: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "license": "other"}
    if hub_name:
        content |= {"base_model": [hub_name], "base_model_relation": "adapter" if adapter else "merge"}
    tags = ["merge", "mergekit", *(["lora"] if adapter else []), "finance", "text-classification", "fin-plugins"]
    return front_matter({**content, "pipeline_tag": "text-generation", "tags": tags})


def _accuracy(metadata: Mapping[str, Any]) -> str:
    if metadata["result"] == "adapter":
        origin = "The experts' factors are concatenated" if metadata["exact"] else "The merged change was factored"
        return (
            f"{origin}, with rank {metadata['rank']}. Of the exact merged change, {metadata['residual']:.2%} is lost "
            f"to the rank and {metadata['rounding']:.3%} to rounding to {metadata['dtype']} (Frobenius norms over all "
            "modules)."
        )
    error = metadata["error_of_change"]["overall"]
    if error is None:
        return "The merge changes nothing: this model equals the base."
    return (
        f"Merged in float32 and rounded once, to {metadata['dtype']}. The merge changes the base by "
        f"{metadata['size_of_change']:.2%} of its norm; {error:.2%} of that change is lost to rounding (Frobenius "
        "norms over all weights; `merge.json` lists the layers)."
    )


def _format_parameters(parameters: Mapping[str, Any]) -> str:
    texts = (f"{name} {round(value, 6) if isinstance(value, float) else value}" for name, value in parameters.items())
    return ", ".join(texts) or "none"
