"""Reference pages written at every build from what the package itself says: tasks, keys, rules, recipes, modules.

They are ignored by git. Only public faces are used: the `fin` command, the JSON Schemas in `schema/`, and the list of
the package's modules, so that a renamed file needs no change here.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Written by docs/_ext/generated_pages.py at each build; changes here are lost. -->\n"
SIDES = {True: "seen", False: "unseen"}
# Behind commands that have a page of their own, and what only the package itself uses.
NOT_DOCUMENTED = {"authoring", "catalogue", "cli", "compat", "demo", "doctor", "hardware", "lm_eval_tasks", "startup"}


def name_commands(group: Any) -> None:
    """Give every command the name under which its group has it, which sphinx-click shows."""
    import click

    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        command.name = name
        if isinstance(command, click.Group):
            name_commands(command)


def write_pages(app: Any = None) -> None:
    """Write all generated pages; a page that is up to date is left alone."""
    from fin_plugins.cli.main import fin

    name_commands(fin)
    pages = {"tasks.md": tasks(), "configurations.md": configurations(), "rules.md": rules()}
    rooms = {f"api/{name}.md": text for name, text in api()}
    pages |= rooms | {"api/index.md": api_index(list(rooms))}
    for file in (REFERENCE / "api").glob("*.md"):
        if f"api/{file.name}" not in pages:
            file.unlink()
    for name, text in pages.items():
        file = REFERENCE / name
        file.parent.mkdir(exist_ok=True)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def typed(*words: str) -> str:
    """What `fin WORDS` prints."""
    from click.testing import CliRunner

    from fin_plugins.cli.main import fin

    return CliRunner().invoke(fin, list(words), catch_exceptions=False).stdout


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f}"


def tasks() -> str:
    """The tasks with their data cards."""
    cards: Mapping[str, Any] = json.loads(typed("data", "card", "--json"))
    lines = [
        NOTE + "# Tasks and data cards\n",
        "Each task has a generation twin with `_gen` at the end of its name ({doc}`../explanations/protocols`). *Seen* "
        "tasks may be trained on; *unseen* tasks never are. The *floor* is the score of always giving the most "
        "frequent label. This page is generated from the data cards of the package, which `fin data card` prints; "
        "licences are quoted as the publishers state them.\n",
        "| task | side | labels | test rows | train / validation | floor: accuracy / weighted F1 / macro F1 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, card in cards.items():
        rows = {split: f"{content['rows']:,}" for split, content in card["splits"].items()}
        trained = f"{rows.get('train', '–')} / {rows.get('validation', '–')}"
        floor = " / ".join(percent(card["floor"][metric]) for metric in ("acc", "weighted_f1", "macro_f1"))
        side, labels, link = SIDES[card["seen"]], len(card["labels"]), f"[`{name}`](#{name.replace('_', '-')})"
        lines.append(f"| {link} | {side} | {labels} | {rows['test']} | {trained} | {floor} |")
    lines += ["", "## Groups\n", *groups(), "", "## Data cards\n"]
    for name, card in cards.items():
        lines += [f"({name.replace('_', '-')})=", f"### {name}\n", *data_card(card)]
    return "\n".join(lines) + "\n"


def groups() -> Iterator[str]:
    """The groups with their members, from the list of tasks."""
    members: dict[str, list[str]] = {}
    for task in json.loads(typed("task", "list", "--json")):
        if task["name"].startswith("fin_") and task["protocol"] == "choice":
            for group in task["groups"]:
                members.setdefault(group, []).append(task["name"])
    yield "A group's score is the unweighted mean over its tasks. Each group has a `_gen` twin as well.\n"
    for group, names in sorted(members.items(), key=lambda item: (len(item[1]), item[0])):
        yield f"- `{group}`: {', '.join(f'`{name}`' for name in names)}"


def data_card(card: Mapping[str, Any]) -> Iterator[str]:
    """One data set: source, licence, split, labels, leaks."""
    yield card["title"] + ".\n"
    yield f"- **Licence**: {card['licence']}"
    yield f"- **Source**: <{card['upstream']}>"
    yield f"- **Citation**: {card['citation']}"
    yield f"- **Split**: {card['split']}"
    yield f"- **Cleaned of test rows in train**: {'yes' if card['cleaned'] else 'no'}"
    yield from (f"- {note}" for note in card["notes"])
    leaks = card.get("leaks") or {}
    if "exact_before" in leaks:
        yield (
            f"- **Test rows whose text is in {leaks['split']}**, before → after cleaning: "
            f"exact {leaks['exact_before']} → {leaks['exact_after']}, "
            f"near {leaks['near_before']} → {leaks['near_after']} (of {leaks['test']:,}; "
            f"near: similarity of at least {leaks['near_threshold']})"
        )
    files = [f"`{source['path'].rpartition('/')[2]}` at commit `{source['commit'][:12]}`" for source in card["sources"]]
    yield f"- **Files**: {', '.join(files)}\n"
    yield "| label | " + " | ".join(card["splits"]) + " |"
    yield "|---|" + "---:|" * len(card["splits"])
    for label in card["labels"]:
        counts = [content["labels"].get(label) for content in card["splits"].values()]
        cells = [f"{count['rows']:,} ({percent(count['share'])} %)" if count else "0" for count in counts]
        yield f"| {label} | " + " | ".join(cells) + " |"
    yield ""


def configurations() -> str:
    """The keys of the three kinds of configuration file, from the schemas that editors use."""
    from fin_plugins.common.validation import StrictModel

    for module in modules("fin_plugins.merging"):
        importlib.import_module(module)
    search = next(
        model
        for model in _subclasses(StrictModel)
        if {"experts", "floor", "sampler", "candidates"} <= set(model.model_fields)
    )
    files = {
        "Training files": ("`fin train FILE`, {doc}`../guides/train`", _schema("training")),
        "Search files": ("`fin merge search FILE`, {doc}`../guides/search`", search.model_json_schema()),
        "Experiment files": ("`fin run FILE`, {doc}`../guides/experiments`", _schema("experiment")),
    }
    lines = [
        NOTE + "# Configurations\n",
        "All keys of the files that `fin train`, `fin merge search` and `fin run` read. An unknown key is an error. "
        "The tables are generated from the pydantic models behind the files; `--set KEY=VALUE` changes any key from "
        "the command line, with dots for nested ones (`lora.r=32`). Task files are lm-eval's: "
        "{doc}`file-formats` lists what fin-plugins adds.\n",
    ]
    for title, (used_by, schema) in files.items():
        lines += [f"## {title}\n", f"Read by {used_by}.\n", *_keys(schema)]
        for name, part in schema.get("$defs", {}).items():
            if part.get("properties"):
                lines += [
                    f"### {title.split()[0]}: `{name}`\n",
                    _one_line(part.get("description", "")) + "\n",
                    *_keys(part),
                ]
    return "\n".join(lines) + "\n"


def _subclasses(model: type) -> Iterator[Any]:
    for below in model.__subclasses__():
        yield below
        yield from _subclasses(below)


def _schema(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "schema" / f"{name}.schema.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _keys(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for key, field in schema["properties"].items():
        default = "required" if key in schema.get("required", []) else _default(field)
        yield f"| `{key}` | {_type(field)} | {default} | {_one_line(field.get('description', ''))} |"
    yield ""


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None else "see below" if isinstance(value, dict) else f"`{json.dumps(value)}`"


def _type(field: Mapping[str, Any]) -> str:
    """A field's type in words."""
    if "anyOf" in field:
        parts = [_type(part) for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "allOf" in field:
        return _type(field["allOf"][0])
    if "enum" in field:
        return ", ".join(f"`{_yaml(value)}`" for value in field["enum"])
    if "const" in field:
        return f"`{_yaml(field['const'])}`"
    if field.get("type") == "array":
        return "list of " + _type(field.get("items", {}))
    if field.get("type") == "object":
        values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
        inner = next((_type(value) for value in values if isinstance(value, dict) and value), "")
        return f"mapping of names to {inner}" if inner else "mapping"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = ", ".join(f"{sign} {field[key]}" for key, sign in bounds.items() if key in field)
    words = {"string": "text", "boolean": "true or false", "integer": "integer", "number": "number"}
    return " ".join(filter(None, [words.get(field.get("type", ""), "any"), limits]))


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def rules() -> str:
    """The rules of `fin task check` with what each is for."""
    lines = [
        NOTE + "# Rules of `fin task check`\n",
        "`fin task check --list-rules` prints the list, `--explain CODE` one rule. `# fin: ignore CODE` on a line "
        "accepts a finding there.\n",
    ]
    for line in typed("task", "check", "--list-rules").splitlines():
        code = line.split()[0]
        title, _, why = typed("task", "check", "--explain", code).partition("\n")
        lines += [f"## {title}\n", _one_line(why) + "\n"]
    return "\n".join(lines) + "\n"


def modules(package: str) -> list[str]:
    """All public modules of a package, itself included."""
    found = importlib.import_module(package)
    below = pkgutil.walk_packages(found.__path__, f"{package}.") if hasattr(found, "__path__") else ()
    names = [module.name for module in below]
    return [package, *(name for name in names if not name.rpartition(".")[2].startswith("_"))]


def api() -> Iterator[tuple[str, str]]:
    """A page for each room of the package."""
    import fin_plugins

    for room in pkgutil.iter_modules(fin_plugins.__path__):
        if room.name in NOT_DOCUMENTED or room.name.startswith("_"):
            continue
        package = f"fin_plugins.{room.name}"
        lines = [NOTE + f"# `{package}`\n"]
        for module in modules(package):
            importlib.import_module(module)  # before autodoc does, which pretends to be a type checker
            if module != package:
                lines.append(f"## `{module.removeprefix(package + '.')}`\n")
            lines += ["```{eval-rst}", f".. automodule:: {module}", "```\n"]
        yield room.name, "\n".join(lines)


def api_index(pages: list[str]) -> str:
    """The first page of the Python API."""
    names = "\n".join(page.removeprefix("api/").removesuffix(".md") for page in pages)
    return (
        NOTE + "# Python API\n\n"
        "The modules that others may build on, with their docstrings: one page for each folder. Nothing has been "
        "released yet, so names may still change; the dotted paths that task files use stay.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )


def setup(app: Any) -> dict[str, Any]:
    """Write the pages before Sphinx looks for sources."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
