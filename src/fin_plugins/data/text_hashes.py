"""When two texts count as the same, and hashes that compare texts without revealing them.

Two records rest on these hashes: the rows that a model was trained on, in a file beside its weights, and the texts of
all test sets, which is all that training may know about them.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from fin_plugins.data import split_guard

TRAINED_ROWS_FILE = "train_rows.txt"
"""The file beside a model's weights with the hashes of its training rows."""
_HEADER = "# fin-plugins: hash of the normalised text of every row trained on (blake2b, 8 bytes)\n"
_MAX_BYTES = 1 << 28  # some 15 million rows
_HASH = re.compile(r"[0-9a-f]{16}")


def normalise(text: str) -> str:
    """Fold what does not change a text's content: Unicode form, white space, case.

    Case folding can undo the Unicode form and vice versa, so the two are repeated until nothing changes:
    `normalise(normalise(x)) == normalise(x)` for every string.

    Returns:
        The text's NFKC form, case-folded, each run of white space one space, none at the ends.
    """
    folded = text
    while True:
        step = " ".join(unicodedata.normalize("NFKC", folded).casefold().split())
        if step == folded:
            return folded
        folded = step


def row_hash(text: str) -> str:
    """The hash of a row's normalised text, 16 hexadecimal digits."""
    return blake2b(_encode(text), digest_size=8).hexdigest()


def held_out_hash(text: str) -> bytes:
    """The hash of a test row's normalised text, 16 bytes."""
    return blake2b(_encode(text), digest_size=16).digest()


def _encode(text: str) -> bytes:
    return normalise(text).encode("utf-8", "surrogatepass")


def format_trained_rows(hashes: Iterable[str]) -> str:
    """The content of `TRAINED_ROWS_FILE`, sorted, so that the order of training is not revealed."""
    return _HEADER + "".join(f"{row}\n" for row in sorted(set(hashes)))


def read_trained_rows(*folders: Path) -> frozenset[str]:
    """The hashes in the folders of models; none from a folder without such a file, or with another one of its name."""
    return frozenset[str]().union(*map(_read_trained_rows, folders))


def _read_trained_rows(folder: Path) -> frozenset[str]:
    file = folder / TRAINED_ROWS_FILE
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            return frozenset()
        text = file.read_text(encoding="ascii")
    except (OSError, ValueError):
        return frozenset()
    return frozenset(_HASH.findall(text)) if text.startswith(_HEADER) else frozenset()


@dataclass(frozen=True)
class HeldOutTexts:
    """Hashes of the texts of test sets.

    Attributes:
        hashes: by data set, such as `fomc`.
        unchecked: data sets whose rows are not on this machine.
    """

    hashes: Mapping[str, frozenset[bytes]]
    unchecked: tuple[str, ...]

    def leaks(self, texts: Sequence[str], dataset: str) -> list[bool]:
        """Whether each text is in a test set.

        Args:
            texts: training texts.
            dataset: the data set they belong to. The test rows of `finred_paper` come from the official training
                split of FinRED, so they count only if `finred_paper` itself is trained on.
        """
        from fin_plugins.data.sources import LEAKY_BY_DESIGN

        test_sets = [hashes for key, hashes in self.hashes.items() if key == dataset or key not in LEAKY_BY_DESIGN]
        return [any(held_out_hash(text) in hashes for hashes in test_sets) for text in texts]


def hash_held_out_texts() -> HeldOutTexts:
    """Hash the test sets of all bundled data sets on this machine, real or embedded as `FIN_DATA` says.

    To be called before `split_guard.block_test_split`.

    Raises:
        FinError: a file is corrupted, or test rows are blocked.
    """
    from fin_plugins.data.dataset_rows import data_mode, read_rows
    from fin_plugins.data.dataset_store import current_manifest
    from fin_plugins.data.sources import datasets

    sample = data_mode() == "sample"
    present = [key for key, dataset in datasets().items() if sample or current_manifest(dataset) is not None]
    split_guard.assert_test_allowed("the texts of test sets")
    hashes = {key: frozenset(map(held_out_hash, read_rows(key).splits["test"]["text"])) for key in present}
    return HeldOutTexts(hashes, tuple(key for key in datasets() if key not in hashes))
