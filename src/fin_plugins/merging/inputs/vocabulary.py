"""Whether two folders hold tokenizers of one vocabulary: the same token has the same number in both."""

from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_json
from fin_plugins.common.hashing import digest, hash_files

_FILE = "tokenizer.json"
_LARGEST = 256 << 20
"""Vocabularies of 250,000 words take 30 MiB."""
_OTHERS = ("tokenizer.model", "vocab.json", "vocab.txt", "merges.txt")


def check_vocabulary(what: str, folder: Path, base: Path) -> None:
    """Check that a model's tokenizer, where it has one, has the base's vocabulary, added tokens included.

    How the files are written does not matter: another version of a library writes the same vocabulary otherwise.

    Raises:
        FinError: it has another one, or one that cannot be read.
    """
    ours, theirs = _vocabulary(what, folder), _vocabulary("base", base)
    if ours is None or theirs is None or ours == theirs:
        return
    differs = [part for part in theirs if ours.get(part) != theirs[part]] or sorted(set(ours) - set(theirs))
    raise FinError(
        f"{what}: the tokenizer in {folder} differs from the base's in its {' and '.join(differs)}: a token would not "
        "mean the same in both; merge models of one vocabulary"
    )


def _vocabulary(what: str, folder: Path) -> dict[str, str] | None:
    """Hashes of the parts of a vocabulary by what they are called; None where there is no tokenizer."""
    if (folder / _FILE).is_file():
        content = _read(what, folder / _FILE)
        model = content.get("model") or {}
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or []]
        added = sorted((token.get("id"), token.get("content")) for token in content.get("added_tokens") or [])
        return {"vocabulary": digest(model.get("vocab")), "merges": digest(pairs), "added tokens": digest(added)}
    files = [folder / name for name in _OTHERS if (folder / name).is_file()]
    return hash_files(files, folder) or None


def _read(what: str, file: Path) -> dict[str, Any]:
    try:
        return dict(read_json(file, _LARGEST))
    except (UnreadableFile, ValueError, TypeError) as error:
        raise FinError(f"{what}: {file} cannot be read ({error}): copy or save it again") from error
