"""Which rows a model was trained on: hashes of their texts in a file beside the weights, and nothing of the texts."""

import re
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from fin_plugins.data.normalise import normalise

FILE = "train_rows.txt"
_HEAD = "# fin-plugins: hash of the normalised text of every row trained on (blake2b, 8 bytes)\n"
_MOST = 1 << 28  # bytes; some 15 million rows
_HASH = re.compile(r"[0-9a-f]{16}")


def row_hash(text: str) -> str:
    """The hash of a row's text, 16 hexadecimal digits: the same for texts that differ in white space or case only."""
    return blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def known_rows(*folders: Path) -> frozenset[str]:
    """All hashes in the folders of models that another one was made of."""
    return frozenset[str]().union(*map(read_trained_rows, folders))


def trained_rows_text(hashes: Iterable[str]) -> str:
    """The content of the file, in an order that tells nothing."""
    return _HEAD + "".join(f"{one}\n" for one in sorted(set(hashes)))


def read_trained_rows(folder: Path) -> frozenset[str]:
    """The hashes in a model's folder; none where it has no such file, or something else of that name."""
    file = folder / FILE
    try:
        if not file.is_file() or file.stat().st_size > _MOST:
            return frozenset()
        text = file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return frozenset()
    return frozenset(_HASH.findall(text)) if text.startswith(_HEAD) else frozenset()
