"""One rule for when two texts count as the same text."""

import unicodedata


def normalise(text: str) -> str:
    """Fold what does not change a text's content: Unicode form, white space, case.

    Case folding can undo the Unicode form and the other way round, so the two are repeated until nothing moves:
    `normalise(normalise(x)) == normalise(x)` for every string.

    Args:
        text: any string.

    Returns:
        The NFKC form of the text, case-folded, every run of white space one blank, none at the ends.
    """
    folded = text
    while True:
        step = " ".join(unicodedata.normalize("NFKC", folded).casefold().split())
        if step == folded:
            return folded
        folded = step
