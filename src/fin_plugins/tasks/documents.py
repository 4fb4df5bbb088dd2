"""From rows to the documents of a task: with all that scoring needs, and no control token in them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fin_plugins.tasks.control_tokens import defuse

if TYPE_CHECKING:
    import pandas as pd


def documents(
    frame: "pd.DataFrame",
    shown: Sequence[str],
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    origin: str,
) -> tuple["pd.DataFrame", int]:
    """Make documents, so that a sample file can be read without the task.

    Added are `choices` (the label set, in the YAML's order), `gold` (index into it), `aliases` (parallel to `choices`;
    only where the task has some) and `data`.

    Args:
        frame: rows with a `label` that is one of `labels`.
        shown: columns that a prompt may show; control tokens in them are broken.
        labels: the label set.
        aliases: further spellings of a label.
        origin: `real` or `sample`.

    Returns:
        The documents, and in how many of them a control token was broken.
    """
    import pandas as pd

    columns = list(shown)
    text = frame[columns].map(defuse)
    broken = int((text != frame[columns]).any(axis=1).sum())
    made = frame.assign(**{column: text[column] for column in columns})
    made["choices"] = pd.Series([list(labels)] * len(frame), index=frame.index)
    number_of = {label: number for number, label in enumerate(labels)}
    made["gold"] = [number_of[label] for label in frame["label"]]
    if aliases:
        spellings = [list(aliases.get(label, ())) for label in labels]
        made["aliases"] = pd.Series([spellings] * len(frame), index=frame.index)
    made["data"] = origin
    return made, broken
