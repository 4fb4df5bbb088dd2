"""A user's own labelled rows, as lm-eval's `custom_dataset` wants them."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, show_in_one_line
from fin_plugins.compat.lm_eval.tasks import read_task_file
from fin_plugins.tasks.fields import OWN_ROWS_PLACEHOLDERS, OwnRows
from fin_plugins.tasks.licence import show_licence

if TYPE_CHECKING:
    from datasets import DatasetDict

    from fin_plugins.tasks.own_rows import Split

log = logging.getLogger(__name__)

_warned: set[tuple[str, ...]] = set()


def load(*, fin: dict[str, Any] | None = None, config_source: str | None = None, **given: Any) -> "DatasetDict":
    """Load the rows that a task YAML names under `dataset_kwargs`; the keys are those of `tasks.fields.OwnRows`.

    Documents are as `tasks.rows.load` makes them: `id` (the split and the row's number in the file), `text`, `label`,
    further columns, and what scoring needs. The test split is left out while `guard.test_rows_closed` is in force.

    Args:
        fin: the YAML's `metadata.fin`. Filled in here with `data`, `content_hash`, `control_tokens_broken` and
            `rows_dropped`, which lm-eval then writes into its result file.
        config_source: the YAML, as lm-eval says; paths are relative to it.
        given: what stands under `dataset_kwargs`; lm-eval passes the YAML's other metadata, the model's arguments and
            `--metadata` in the same call, which are not used.

    Raises:
        FinError: the YAML is wrong, or the rows are.
    """
    show_in_one_line()
    from fin_plugins.tasks.own_rows import read, reshuffles

    source = _yaml(config_source)
    stated = _stated(source)
    rows = _checked(given, stated.get("dataset_kwargs"), source)
    try:
        found = read(rows, source.parent)
    except FinError as error:
        raise FinError(f"{source}: {error}") from error
    _require_splits(stated, found, source)
    if (reshuffled := reshuffles(rows)) is not None:
        _warn_once(source, reshuffled)
    return _as_documents(rows, found, {} if fin is None else fin, source)


def _warn_once(source: Path, message: str) -> None:
    """Say it once for a task and its twin, however often they are loaded."""
    said = (str(source.parent), source.stem.removesuffix("_gen"), message)
    if said not in _warned:
        _warned.add(said)
        log.warning("%s: %s", source.name, message)


def _yaml(config_source: str | None) -> Path:
    if not config_source or config_source == "inline":
        raise FinError(
            "fin_plugins.tasks.own.load: lm-eval does not say which YAML names it, so there is nothing that paths "
            "could be relative to: let the task have a YAML file of its own"
        )
    return Path(config_source)


def _stated(source: Path) -> dict[str, Any]:
    """What the file says, as lm-eval reads it with all that it includes."""
    return dict(read_task_file(source))


def _checked(given: dict[str, Any], stated: Any, source: Path) -> OwnRows:
    """The keys that are ours, and those that the YAML has under `dataset_kwargs`, so that a misspelt one is noticed."""
    from fin_plugins.common.validation import validate

    ours = {*OwnRows.model_fields, *(stated if isinstance(stated, dict) else ())}
    rows, findings = validate(
        OwnRows, {key: value for key, value in given.items() if key in ours}, OWN_ROWS_PLACEHOLDERS
    )
    if rows is None:
        said = "; ".join(f"{'.'.join(map(str, ('dataset_kwargs', *key)))}: {message}" for key, message in findings)
        raise FinError(f"{source}: {said}")
    return rows


def _require_splits(stated: dict[str, Any], found: "Split", source: Path) -> None:
    """lm-eval alone would raise a bare `KeyError: 'train'`."""
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        split = stated.get(key)
        if split is not None and split not in found.frames:
            there = ", ".join(found.frames)
            raise FinError(f"{source}: {key}: {split}: the rows have no such split; there are {there}")


def _as_documents(rows: OwnRows, found: "Split", fin: dict[str, Any], source: Path) -> "DatasetDict":
    import datasets

    from fin_plugins.data import guard
    from fin_plugins.data.store import content_hash
    from fin_plugins.tasks.documents import documents

    hashes = {split: content_hash(frame) for split, frame in found.frames.items()}
    dropped = {"no_text": found.empty, "in_held_out_split": found.leaks}
    dropped |= {"label": found.dropped} if rows.drop_labels else {}
    fin.update(data="real", content_hash=hashes, control_tokens_broken=0, rows_dropped=dropped)
    _say(dropped, source)
    show_licence(source.stem, fin)
    splits = {}
    for split, frame in found.frames.items():
        made, broken = documents(frame, ["text", *rows.columns.also], rows.words, rows.aliases, "real")
        fin["control_tokens_broken"] += broken
        if not (split == guard.TEST and guard.closed()):
            splits[split] = datasets.Dataset.from_pandas(made, preserve_index=False)
    return datasets.DatasetDict(splits)


def _say(dropped: dict[str, int], source: Path) -> None:
    if dropped["no_text"]:
        log.warning("%s: %d rows have no text and are left out", source.name, dropped["no_text"])
    if dropped["in_held_out_split"]:
        log.warning(
            "%s: %d rows are left out of train or validation because a held-out split has their text",
            *(source.name, dropped["in_held_out_split"]),
        )
