"""Takes personal data out of what is logged: e-mail addresses, long numbers, and names where they can be told.

No pattern looks at a character more than a few times, whatever the text: quantifiers that could give back what they
took are possessive, and repetitions of what may begin anywhere are bounded.
"""

import re
import unicodedata
from typing import Any

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+")
# Telephone, card and account numbers: five digits or more, with what people write between them.
_NUMBER = re.compile(r"\+?\d(?:[ ()./-]{0,2}\d){4,}")
# A text that is nothing but a moment in time is a value.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")

# A name cannot be told from any other word without its company: a form of address or an introduction, and a capital.
_INTRODUCTION = r"(?i:mrs?|dr|prof|professor|herr|frau|dear|my name is|name:|i am called|regards|sincerely)|Ms|Miss"
_CAPITALS = "".join(filter(str.isupper, map(chr, range(0x2000))))  # re knows no class for them
_WORD = rf"(?:[{_CAPITALS}]\.\s?+)*+[{_CAPITALS}][\w'\u2019-]++"  # with initials before it
_NAME = re.compile(rf"\b((?:(?:{_INTRODUCTION})[.,:]?\s++){{1,3}}){_WORD}(?:\s++{_WORD})*+")

_PERSONAL = {"name", "surname", "firstname", "lastname", "fullname", "username", "email", "phone", "address"}


def mask(value: Any) -> Any:
    """A JSON value without names, e-mail addresses and long numbers in its texts; numbers of JSON and dates stay."""
    if isinstance(value, str):
        return value if _MOMENT.fullmatch(value) else mask_text(value)
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    if isinstance(value, dict):
        return {key: "<masked>" if _personal(key) and item is not None else mask(item) for key, item in value.items()}
    return value


def mask_text(text: str) -> str:
    """A text without them."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)  # an accent of its own ends a word
    without_numbers = _NUMBER.sub("<number>", _EMAIL.sub("<email>", composed))
    return _NAME.sub(r"\1<name>", without_numbers)


def _personal(key: Any) -> bool:
    return isinstance(key, str) and re.sub(r"[^a-z]", "", key.lower()) in _PERSONAL
