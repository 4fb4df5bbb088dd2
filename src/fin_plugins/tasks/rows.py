"""Loader of the bundled data sets, for lm-eval's `custom_dataset`."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError, show_in_one_line
from fin_plugins.tasks.documents import make_dataset_dict, show_licence

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
    """Load the data set that a task YAML names; lm-eval calls this with the YAML's `metadata` and `dataset_kwargs`.

    Documents are described in `tasks.documents`.

    Args:
        fin: The YAML's `metadata.fin`; `rows` names the data set. Updated in place with `data`, `content_hash` and
            `control_tokens_broken`: lm-eval takes a data set from this function and nothing else, but writes its
            `metadata` into the result file.
        labels: The label set. A label in the data that is not among them is an error.
        aliases: Further spellings of a label that count as that label in a generated answer.
        _others: lm-eval also passes the model's arguments and `--metadata`; not used.

    Raises:
        FinError: The data set is not fetched, is corrupted, or has a label that the YAML does not list.
    """
    show_in_one_line()
    from fin_plugins.data.dataset_rows import read_rows

    rows = read_rows(fin["rows"])
    if rows.data_mode == "sample":
        log.warning("fin_%s: embedded sample rows (FIN_DATA=sample); scores are not comparable", fin["rows"])
    else:
        show_licence(f"fin_{rows.name}", fin)
    for frame in rows.splits.values():
        if unknown := sorted(set(frame["label"]) - set(labels)):
            raise FinError(
                f"fin_{rows.name}: labels in the data that the task file does not list: {', '.join(unknown)}"
            )
    dataset, escaped = make_dataset_dict(rows.splits, _TEXT_COLUMNS, labels, aliases or {}, rows.data_mode)
    fin.update(data=rows.data_mode, content_hash=dict(rows.hashes), control_tokens_broken=escaped)
    return dataset
