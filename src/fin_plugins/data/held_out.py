"""Which texts stand in a test set: all that training may know about test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from fin_plugins.data import guard, rows, store
from fin_plugins.data.clean import UNCLEANED
from fin_plugins.data.normalise import normalise
from fin_plugins.data.sources import datasets


@dataclass(frozen=True)
class HeldOut:
    """Hashes of the normalised texts of test sets; the texts themselves cannot be had from it.

    Attributes:
        hashes: by data set, as in `fomc`.
        unchecked: data sets whose rows are not on this machine.
    """

    hashes: Mapping[str, frozenset[bytes]]
    unchecked: tuple[str, ...]

    def leaks(self, texts: Sequence[str], trained: str) -> list[bool]:
        """Whether each text stands in a test set.

        Args:
            texts: train texts.
            trained: the data set they are of. The paper's own split of finred has its test rows in the official train
                split, so it counts only where it is itself trained on.
        """
        counted = [hashes for name, hashes in self.hashes.items() if name == trained or name not in UNCLEANED]
        return [any(_hash(text) in hashes for hashes in counted) for text in texts]


def held_out() -> HeldOut:
    """The test sets of all data sets on this machine, real or embedded as `FIN_DATA` says.

    To be asked before `guard.test_rows_closed` comes into force.

    Raises:
        FinError: a file is corrupted, or the guard is up.
    """
    sample = rows.chosen_origin() == "sample"
    there = [key for key, dataset in datasets().items() if sample or store.current(dataset) is not None]
    guard.check_open("the texts of test sets")
    hashes = {key: frozenset(map(_hash, rows.read_rows(key).splits["test"]["text"])) for key in there}
    return HeldOut(hashes, tuple(key for key in datasets() if key not in hashes))


def _hash(text: str) -> bytes:
    return blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
