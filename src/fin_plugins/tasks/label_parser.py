"""Find the label that a model's free-text reply names, or the reason why there is none.

The parser never guesses: no fallback label, no "first option that occurs". A reply counts only if it names exactly
one label and does not negate it. Anything that would need interpretation is `AMBIGUOUS`, which is wrong in every metric
and counted in its own rate.

A reply is first folded to a canonical string: lower-case words separated by single spaces, with `.` (end of a
sentence), `,` (a pause) and `;` (a line break) as separate words. All patterns work on that string.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest

MISSING = -1
"""The reply names no label."""
AMBIGUOUS = -2
"""The reply names two or more labels, or a negated one."""

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u00b4`\uff07\u2032", "'"))
_NOT_CONTRACTED = re.compile(r"(?<=\w)n't(?!\w)")
_GAP = re.compile(r"[\W_]+")
_SENTENCE_END = re.compile(r"[.;:!?…。؟؛।|•·→⇒]|[-=]>")
_PAUSE = re.compile(r"[,()\[\]{}–—、،]|--|\s-+\s")

# "It is not, however, hawkish": the aside does not end the negation.
_ASIDE = re.compile(r" (not|never|cannot) ,(?: however| though)?((?: \w++){0,3}) , ")

_AFFIRMING = r"(?:no|without(?: an?y?)?) (?:doubt|question) |not (?:only|just) "
_NEGATOR = (
    r"(?:not|no|never|neither|nor|cannot|non|without|hardly|barely|scarcely|nothing|none|whether"
    r"|unclear|uncertain|unsure|unlikely|unable|lack|lacks|lacking|except|excluding"
    r"|(?:is|are|was|were|do|does|did|has|have|had|ca|wo|could|would|should|ai)nt"
    r"|(?:rather|other) than|instead of|far from|anything but|opposite of|absence of|opposed to|yet to"
    r"|fail(?:s|ed)? to|rul(?:e|es|ed|ing) out)"
)
_NEW_CLAUSE = (
    r"(?:but|because|since|therefore|thus|hence|however|while|whereas|although|though"
    r"|so (?:it|the|this|i|we|my)|and (?:so|thus|hence|therefore|is|are|was|were|remain(?:s|ed)?|stay(?:s|ed)?))"
)
_REACH_WORDS = 6
_REACH_CHARACTERS = 160
_NEGATED_BEFORE = re.compile(rf" (?!{_AFFIRMING}){_NEGATOR}(?: (?!{_NEW_CLAUSE} )\w++){{0,{_REACH_WORDS}}} $")

_NOUN = r"(?: (?:label|sentiment|stance|tone|relation|relationship|link|class|category|answer|option|choice))?"
_VERB = r"(?:is|are|was|were|be|do|does|did|has|have|had|would|could|should|can|ca|will|wo|may|might|seems?|appears?)"
_WRONG = r"(?:wrong|incorrect|false|inaccurate|inappropriate|unlikely|unclear|absent|ruled out)"
_RIGHT = (
    r"(?:it|correct|right|appropriate|accurate|applicable|suitable|fitting|valid|warranted|justified|the case"
    r"|apply|fit|match|present|evident|clear|likely|possible|indicated|established|stated|expressed|implied"
    r"|(?:correct|right|best|appropriate) \w++)"
)
_NEGATED_AFTER = re.compile(
    rf"{_NOUN} (?:(?:{_VERB} (?:not|never)|cannot)(?: (?:be|a|an|the))* {_RIGHT}|{_VERB}(?: be)? {_WRONG}) "
    rf"|{_NOUN} [.,;] (?:no|nope|false|incorrect|wrong|never|unlikely|not (?:yet|really|quite|at all|applicable))"
    rf" (?:[.,;]|$)"
)


def parse_label(reply: str, labels: Sequence[str], aliases: Sequence[Sequence[str]] = ()) -> int:
    """Find the one label that a reply names.

    Case, Unicode form, quotes, Markdown, punctuation, underscores, hyphens and slashes are folded. Only whole words
    match (`up` is not in `supply`), and a longer label hides a shorter one inside it. Time is linear in the reply.

    Args:
        reply: The model's text, any length, any characters.
        labels: The task's label set.
        aliases: Other spellings, in the order of `labels`; may be shorter than `labels`.

    Returns:
        The index of the label in `labels`, `MISSING` if none is named, `AMBIGUOUS` if two or more are or one is
        negated ("not hawkish", "causal: no").

    Raises:
        ValueError: If two labels share a spelling or one has no letter or digit. Never because of the reply.
    """
    pattern, index_of = _compiled(tuple(labels), tuple(tuple(spellings) for spellings in aliases))
    text = _fold(reply)
    answer, consumed = MISSING, -1
    for match in pattern.finditer(text):
        start, end = match.span(1)
        if end <= consumed:
            continue
        consumed, index = end, index_of[_words(match[1])]
        if answer not in (MISSING, index) or _is_negated(text, start, end):
            return AMBIGUOUS
        answer = index
    return answer


def fold_label(spelling: str) -> tuple[str, ...]:
    """The words that the parser looks for; two labels that fold to the same words are one label."""
    return _words(_fold(spelling))


@lru_cache(maxsize=256)
def _compiled(
    labels: tuple[str, ...], aliases: tuple[tuple[str, ...], ...]
) -> tuple[re.Pattern[str], dict[tuple[str, ...], int]]:
    """One pattern for all spellings, longest first, and the label index of each spelling (as words).

    The pattern is a lookahead, so that labels that overlap are both found.
    """
    if len(aliases) > len(labels):
        raise ValueError(f"{len(aliases)} lists of aliases for {len(labels)} labels")
    index_of: dict[tuple[str, ...], int] = {}
    patterns: dict[str, str] = {}
    for index, (label, others) in enumerate(zip_longest(labels, aliases, fillvalue=())):
        for spelling in (str(label), *others):
            words = fold_label(spelling)
            if not words or index_of.setdefault(words, index) != index:
                raise ValueError(f"label {spelling!r} has no letter or digit, or is a spelling of two labels")
            patterns[" ".join(words)] = _spelling_pattern(spelling)
    alternatives = "|".join(patterns[key] for key in sorted(patterns, key=lambda key: (-len(key), key)))
    return re.compile(rf" (?=({alternatives}) )" if patterns else r"(?!)()"), index_of


def _spelling_pattern(spelling: str) -> str:
    """A line may break between a label's words; a sentence may end there only if it does in the label."""
    text = _fold(spelling)
    pause = " (?:[.,;] )?" if {".", ","} & set(text) else " (?:; )?"
    return pause.join(_words(text))


def _words(canonical: str) -> tuple[str, ...]:
    """The words of a canonical string, without its pauses."""
    return tuple(word for word in canonical.split() if word not in {".", ",", ";"})


def _fold(text: str) -> str:
    """The canonical string of a text, with a space at each end."""
    folded = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFKC", folded.casefold())
    if not folded.isascii():  # zero-width and direction marks, soft hyphens
        folded = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    folded = _NOT_CONTRACTED.sub(" not", folded)
    return _ASIDE.sub(r" \1\2 ", f" {_GAP.sub(_gap, folded).strip()} ")


def _gap(match: re.Match[str]) -> str:
    """What separates two words: the end of a sentence, a pause, a line break, or just a space."""
    gap = match[0]
    if _SENTENCE_END.search(gap):
        return " . "
    if _PAUSE.search(gap):
        return " , "
    return " ; " if "\n" in gap else " "


def _is_negated(text: str, start: int, end: int) -> bool:
    """Whether the label at text[start:end] is negated by the few words before it, or by a predicate after it."""
    before = max(0, start - _REACH_CHARACTERS)
    return bool(_NEGATED_BEFORE.search(text, before, start) or _NEGATED_AFTER.match(text, end))
