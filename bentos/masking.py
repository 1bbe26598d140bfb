"""Takes personal data out of what is logged: e-mail addresses, long numbers, and names where they can be told.

No pattern looks at a character more than a few times, whatever the text: quantifiers that could give back what they
took are possessive, and repetitions of what may begin anywhere are bounded.
"""

import re
import unicodedata
from collections.abc import Collection
from typing import Any

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+")
# Telephone, card and account numbers: five digits or more, with what people write between them.
_DASHES = "\u2010-\u2015\u2212-"
_NUMBER = re.compile(rf"\+?\d(?:[ \t()./{_DASHES}]{{0,3}}+\d){{4,}}")
# A text that is nothing but a moment in time is a value.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")

# A name cannot be told from any other word without its company: a form of address or an introduction, and a letter that
# is not a small one (many scripts know no capitals).
_INTRODUCTION = r"(?i:mrs?|dr|prof|professor|herr|frau|dear|my name is|name(?=:)|i am called|regards|sincerely)|Ms|Miss"
_SMALL = "".join(filter(str.islower, map(chr, range(0x2000))))  # re knows no class for them
_LETTER = rf"(?![AI]\b[^.])[^\W\d_{_SMALL}]"  # "I" and "A" are words
_INITIALS = rf"(?:{_LETTER}\.\s?+)*+"
_PARTICLE = "van|von|vom|de[nrslm]?|di|d[aou]s?|della|la|le|te[nr]|zu[mr]?|bin|ibn|al|el"
_PARTICLES = rf"(?:(?:{_PARTICLE})\s++|[dl]['\u2019]|(?:al|el)-)*+"
_WORD = rf"{_INITIALS}{_PARTICLES}{_LETTER}[^\s.,;:!?()\[\]{{}}<>\"/]*+"
_NAME = re.compile(rf"\b((?:(?:{_INTRODUCTION})(?:[.,:]\s*+|\s++)){{1,3}}){_WORD}(?:\s++{_WORD})*+")

# What is in doubt, like a file_name, is masked.
_PERSONAL = re.compile(r"(?:names?|emails?|phones?|phonenumbers?|address(?:es)?|(?:user|customer)ids?)$")
# Not the whole text at once: accents are put in order by a sort that takes the square of how many follow each other.
_FOREIGN = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]{1,256}")
_INVISIBLE = dict.fromkeys([0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xFEFF])


def mask(value: Any, *, catalogue: Collection[str] = ()) -> Any:
    """A JSON value without names, e-mail addresses and long numbers in its texts; numbers of JSON and dates stay.

    catalogue   fields whose values stay as they are: ids of things of ours, never of people
    """
    if isinstance(value, str):
        return value if _MOMENT.fullmatch(value) else mask_text(value)
    if isinstance(value, list | tuple):
        return [mask(item, catalogue=catalogue) for item in value]
    if isinstance(value, dict):
        return {mask(key): _field(key, item, catalogue) for key, item in value.items()}
    return value


def mask_text(text: str) -> str:
    """A text without them. It is as it was, to the letter, when there was nothing to mask."""
    plain = text if text.isascii() else _FOREIGN.sub(_normalized, text.translate(_INVISIBLE))
    masked = _NAME.sub(r"\1<name>", _NUMBER.sub("<number>", _EMAIL.sub("<email>", plain)))
    return text if masked == plain else masked


def _normalized(found: re.Match[str]) -> str:
    """One way to write each character, so that the patterns need to know only one."""
    return unicodedata.normalize("NFKC", found[0])


def _field(key: Any, item: Any, catalogue: Collection[str]) -> Any:
    if item is None or key in catalogue:
        return item
    return "<masked>" if _personal(key) else mask(item, catalogue=catalogue)


def _personal(key: Any) -> bool:
    return isinstance(key, str) and bool(_PERSONAL.search(re.sub(r"[^a-z]", "", key.lower())))
