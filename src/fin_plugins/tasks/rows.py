"""The rows of a task, as lm-eval's `custom_dataset` wants them."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fin_plugins.errors import FinError, show_in_one_line
from fin_plugins.tasks.control_tokens import defuse

if TYPE_CHECKING:
    import pandas as pd
    from datasets import DatasetDict

log = logging.getLogger(__name__)

_TEXT_COLUMNS = ("text", "e1", "e2")


def load(
    *,
    fin: dict[str, Any],
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]] | None = None,
    **_others: Any,
) -> "DatasetDict":
    """Load the rows that a task YAML names; lm-eval calls this with the YAML's `metadata` and `dataset_kwargs`.

    Every row carries what scoring needs, so that a sample file can be read without the task: `choices` (the label
    set, in the YAML's order), `gold` (index into it), `aliases` (parallel to `choices`; only where the task has some)
    and `data` ("real" or "sample").

    Args:
        fin: The YAML's `metadata.fin`; `rows` names the data set. Filled in here with `data` and `content_hash`, which
            lm-eval then writes into its result file.
        labels: The label set. A label in the data that is not among them is an error.
        aliases: Further spellings of a label that count as that label in a generated answer.
        _others: lm-eval also passes the model's arguments and `--metadata`; not used.

    Raises:
        FinError: where the rows are not there, are damaged, or carry a label that the YAML does not list.
    """
    show_in_one_line()
    import datasets

    from fin_plugins.data.rows import read_rows

    rows = read_rows(fin["rows"])
    fin.update(data=rows.origin, content_hash=dict(rows.hashes), control_tokens_broken=0)
    if rows.origin == "sample":
        log.warning("fin_%s: embedded sample rows (FIN_DATA=sample); the scores are no benchmark", fin["rows"])
    splits = {}
    for name, frame in rows.splits.items():
        documents, broken = _documents(frame, fin["rows"], list(labels), aliases or {}, rows.origin)
        fin["control_tokens_broken"] += broken
        splits[name] = datasets.Dataset.from_pandas(documents, preserve_index=False)
    return datasets.DatasetDict(splits)


def _documents(
    frame: "pd.DataFrame", name: str, labels: list[str], aliases: Mapping[str, Sequence[str]], origin: str
) -> tuple["pd.DataFrame", int]:
    import pandas as pd

    unknown = sorted(set(frame["label"]) - set(labels))
    if unknown:
        raise FinError(f"fin_{name}: the rows carry labels that the task file does not list: {', '.join(unknown)}")
    columns = [column for column in _TEXT_COLUMNS if column in frame]
    text = frame[columns].map(defuse)
    broken = int((text != frame[columns]).any(axis=1).sum())
    documents = frame.assign(**{column: text[column] for column in columns})
    documents["choices"] = pd.Series([labels] * len(frame), index=frame.index)
    documents["gold"] = [labels.index(label) for label in frame["label"]]
    if aliases:
        spellings = [list(aliases.get(label, ())) for label in labels]
        documents["aliases"] = pd.Series([spellings] * len(frame), index=frame.index)
    documents["data"] = origin
    return documents, broken
