"""The splits of a hub data set, every cell as text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.data.tables import as_text

if TYPE_CHECKING:
    import pandas as pd


def read_hub(
    name: str, folder: Path, config: str | None = None, revision: str | None = None
) -> "dict[str, pd.DataFrame]":
    """Read a data set of the hub, or of a local folder laid out like one.

    A label that the data set stores as a number with a name is read as the name.

    Args:
        name: as in `owner/name`; a path where it begins with `./`, `../` or `/`.
        folder: what a path is relative to.
        config: configuration of the data set.
        revision: commit of the data set.

    Returns:
        One frame a split, by the data set's own names of the splits.

    Raises:
        FinError: there is no such data set, no connection, or it cannot be read.
    """
    import datasets

    local = name.startswith(("./", "../", "/"))
    path = str(folder / name) if local else name
    if local and not Path(path).is_dir():
        raise FinError(f"{path}: no such folder")
    try:
        found = datasets.load_dataset(path, config, revision=revision)
    except Exception as error:  # each of the many kinds says in its first line what is wrong
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise FinError(
            f"hub data set {name}: cannot be loaded ({first}): is the name right, is there a connection?"
        ) from error
    return {str(split): _frame(rows) for split, rows in found.items()}


def _frame(rows: Any) -> "pd.DataFrame":
    import pandas as pd

    columns = {name: _cells(rows, name) for name in rows.column_names}
    return pd.DataFrame(columns, dtype=object)


def _cells(rows: Any, name: str) -> list[str]:
    names = getattr(rows.features[name], "names", None)
    values = rows.data.column(name).to_pylist()
    if names is None:
        return list(map(as_text, values))
    # -1 stands for a label that was kept back, as in the test sets of competitions.
    return ["" if value is None or value < 0 else str(names[value]) for value in values]
