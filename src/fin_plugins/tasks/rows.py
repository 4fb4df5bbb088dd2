"""The rows of a task, as lm-eval's `custom_dataset` wants them."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, show_in_one_line
from fin_plugins.tasks.documents import documents
from fin_plugins.tasks.licence import show_licence

if TYPE_CHECKING:
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

    Every row carries what scoring needs, as `documents` says.

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
    else:
        show_licence(f"fin_{rows.name}", fin)
    splits = {}
    for name, frame in rows.splits.items():
        unknown = sorted(set(frame["label"]) - set(labels))
        if unknown:
            raise FinError(
                f"fin_{rows.name}: the rows carry labels that the task file does not list: {', '.join(unknown)}"
            )
        shown = [column for column in _TEXT_COLUMNS if column in frame]
        made, broken = documents(frame, shown, labels, aliases or {}, rows.origin)
        fin["control_tokens_broken"] += broken
        splits[name] = datasets.Dataset.from_pandas(made, preserve_index=False)
    return datasets.DatasetDict(splits)
