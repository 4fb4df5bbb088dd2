"""Documents of a task, made from its rows: everything that scoring needs, and no chat-control token in the text."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from datasets import DatasetDict

_CONTROL_TOKEN = re.compile(
    r"""
    <\|[^|<>\n]{1,64}\|>                                        # ChatML, Llama 3, Phi-3, GPT-NeoX
    | <｜[^｜<>\n]{1,64}｜>                                       # DeepSeek
    | \[/?[A-Z][A-Z_]{2,30}\]                                   # Mistral: [INST], [TOOL_CALLS], [AVAILABLE_TOOLS]
    | <</?SYS>>                                                 # Llama 2
    | </?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>  # SentencePiece models, Gemma
    | <0x[0-9A-Fa-f]{2}>                                        # SentencePiece byte tokens
    """,
    re.VERBOSE,
)
_displayed_licences: set[tuple[str, str]] = set()


def escape_control_tokens(text: str) -> str:
    """Break every control token by a space after its first character: `<|im_end|>` becomes `< |im_end|>`. Idempotent.

    lm-eval tokenises the rendered prompt as a whole, so a row that contains `<|im_end|>` would end the user's turn.
    """
    return _CONTROL_TOKEN.sub(lambda match: match[0][0] + " " + match[0][1:], text)


def make_documents(
    frame: "pd.DataFrame",
    text_columns: Sequence[str],
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    data_mode: str,
) -> tuple["pd.DataFrame", int]:
    """Make documents from rows, self-contained so that lm-eval's sample files can be read without the task.

    Adds `choices` (the label set, in the YAML's order), `gold` (index into it), `aliases` (parallel to `choices`; only
    if the task has any) and `data`.

    Args:
        frame: rows with a `label` that is one of `labels`.
        text_columns: columns that a prompt may show; control tokens in them are escaped.
        labels: the label set.
        aliases: further spellings of a label.
        data_mode: `real` or `sample`.

    Returns:
        The documents, and the number of documents with an escaped control token.
    """
    import pandas as pd

    columns = list(text_columns)
    text = frame[columns].map(escape_control_tokens)
    escaped = int((text != frame[columns]).any(axis=1).sum())
    documents = frame.assign(**{column: text[column] for column in columns})
    documents["choices"] = pd.Series([list(labels)] * len(frame), index=frame.index)
    index_of = {label: index for index, label in enumerate(labels)}
    documents["gold"] = [index_of[label] for label in frame["label"]]
    if aliases:
        spellings = [list(aliases.get(label, ())) for label in labels]
        documents["aliases"] = pd.Series([spellings] * len(frame), index=frame.index)
    documents["data"] = data_mode
    return documents, escaped


def make_dataset_dict(
    frames: "Mapping[str, pd.DataFrame]",
    text_columns: Sequence[str],
    labels: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    data_mode: str,
) -> tuple["DatasetDict", int]:
    """The documents of all splits, as lm-eval's `custom_dataset` returns them; arguments as for `make_documents`.

    Columns of `text_columns` that a split lacks are skipped.

    Returns:
        The splits, and the number of documents with an escaped control token.
    """
    import datasets

    splits, total = {}, 0
    for split, frame in frames.items():
        columns = [column for column in text_columns if column in frame]
        documents, escaped = make_documents(frame, columns, labels, aliases, data_mode)
        splits[split] = datasets.Dataset.from_pandas(documents, preserve_index=False)
        total += escaped
    return datasets.DatasetDict(splits), total


def show_licence(name: str, metadata: Mapping[str, Any]) -> None:
    """Print licence and source of a task's rows to standard error, once per process.

    Of the processes of a distributed training, only the first one prints.

    Args:
        name: the task or data set, printed in front.
        metadata: the task file's `metadata.fin`.
    """
    licence, source = str(metadata.get("licence") or "not stated"), str(metadata.get("source") or "not stated")
    if (licence, source) in _displayed_licences or os.environ.get("RANK", "0") != "0":
        return
    _displayed_licences.add((licence, source))
    print(f"{name}: licence of the rows: {licence}; source: {source}", file=sys.stderr, flush=True)
