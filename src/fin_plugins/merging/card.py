"""The model card of a merge: its record in words, as the README.md that a model hub shows."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from fin_plugins.common.markdown import escape, inline_code, single_line, table_cell
from fin_plugins.merging.model import Filled

FILE = "README.md"
_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def write_card(record: Mapping[str, Any], filled: Filled, folder: Path) -> None:
    """Write the card beside the result."""
    (folder / FILE).write_text(model_card(record, filled), encoding="utf-8")


def model_card(record: Mapping[str, Any], filled: Filled) -> str:
    """The text of the card: Markdown with the hub's YAML in front.

    Names come from users, so they are put in as text: no markup, no HTML, no line breaks, no YAML.
    """
    hub = _hub_name(filled)
    base = inline_code(hub or _last(filled.base_name))
    # No autoescape: this is Markdown, not HTML; the filters escape for it.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)  # noqa: S701
    environment.filters |= {"words": escape, "code": inline_code, "cell": table_cell, "parameters": _parameters}
    environment.filters["base_cell"] = lambda name: table_cell(hub or _last(name))
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        names=[single_line(expert["name"]) for expert in record["experts"]],
        base=base,
        front=_front(record, hub),
        recipe=_dumped(record["config"]),
        exactness=_exactness(record),
    )
    return text.rstrip() + "\n"


def _front(record: Mapping[str, Any], hub: str | None) -> str:
    """The hub's metadata. A base is named only where it is on the hub: the hub refuses anything else."""
    adapter = record["result"] == "adapter"
    front: dict[str, Any] = {"library_name": "peft" if adapter else "transformers", "license": "other"}
    if hub:
        front |= {"base_model": [hub], "base_model_relation": "adapter" if adapter else "merge"}
    tags = ["merge", "mergekit", *(["lora"] if adapter else []), "finance", "text-classification", "fin-plugins"]
    return _dumped({**front, "pipeline_tag": "text-generation", "tags": tags})


def _exactness(record: Mapping[str, Any]) -> str:
    if record["result"] == "adapter":
        made = "The experts' factors stand side by side in it" if record["exact"] else "The merged change was factored"
        return (
            f"{made}: rank {record['rank']}. Of the exact merged change, {record['residual']:.2%} is lost to the rank "
            f"and {record['rounding']:.3%} to rounding to {record['dtype']} (Frobenius norms over all modules)."
        )
    error = record["error_of_change"]["overall"]
    if error is None:
        return "The merge changes nothing: this is the base."
    return (
        f"Merged in float32 and rounded once, to {record['dtype']}. The merge changes the base by "
        f"{record['size_of_change']:.2%} of its norm; {error:.2%} of that change is lost to rounding (Frobenius norms "
        "over all weights; layer by layer in `merge.json`)."
    )


def _hub_name(filled: Filled) -> str | None:
    """The base's name on a model hub; None where, as far as can be told here, it is a folder."""
    name = filled.base_name
    return name if _HUB_NAME.fullmatch(name) and not Path(name).exists() else None


def _last(name: str) -> str:
    """Of a folder its own name: where it lies is nobody's business."""
    return Path(name).name or name


def _parameters(values: Mapping[str, Any]) -> str:
    shown = (f"{name} {round(value, 6) if isinstance(value, float) else value}" for name, value in values.items())
    return ", ".join(shown) or "none"


def _dumped(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)).strip()
