"""Where data lies on this machine."""

import os
from pathlib import Path

from platformdirs import user_cache_dir

from fin_plugins.common.errors import FinError


def data_dir() -> Path:
    """Return the data folder: `FIN_DATA_DIR`, or `data` in the user's cache folder. It need not exist."""
    chosen = os.environ.get("FIN_DATA_DIR")
    return Path(chosen).expanduser().absolute() if chosen else Path(user_cache_dir("fin-plugins")) / "data"


def raw_dir() -> Path:
    """Return where the raw upstream files lie, laid out `<owner>/<repo>/<commit>/<path>`."""
    return data_dir() / "raw"


def built_dir(key: str) -> Path:
    """Return the folder of one built data set."""
    return data_dir() / "built" / key


def writable(folder: Path) -> Path:
    """Make the folder if need be and return it.

    Raises:
        FinError: nothing can be written there.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def cannot_write(folder: Path, error: OSError) -> FinError:
    """Return the error that says where data cannot be written, why, and what to do."""
    return FinError(
        f"{folder}: cannot write data there ({error.strerror or error}): "
        "free some space or set FIN_DATA_DIR to a folder that can be written"
    )
