"""Personal data are masked, other words stay, and no text takes long."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentos.masking import mask, mask_text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to jane.doe+shop@mail.example.co.uk, please.", "Write to <email>, please."),
        ("<ärger@straße.de>", "<<email>>"),
        ("a@b.c,d@e.f", "<email>,<email>"),
        ("Call +49 (30) 123-45 67 or 0301234567.", "Call <number> or <number>."),
        ("card 4111 1111 1111 1111 ok", "card <number> ok"),
        ("account DE89 3704 0044 0532 0130 00", "account DE<number>"),
        ("Dear Mr. Smith, hello", "Dear Mr. <name>, hello"),
        ("Frau Dr. Müller-Lüdenscheidt kam", "Frau Dr. <name> kam"),
        ("my name is Anna Maria O'Hara and I wait", "my name is <name> and I wait"),
        ("Kind regards,\nJohn Q. Public", "Kind regards,\n<name>"),
        ("prof. J. R. R. Tolkien wrote", "prof. <name> wrote"),
        ("Name: Łukasz Żak", "Name: <name>"),
        ("Dr. Иванов", "Dr. <name>"),
        ("Dr. E\u0301mile Zola", "Dr. <name>"),
        ("Ms O\u2019Brien left", "Ms <name> left"),
        ("Mr.Smith, name:John", "Mr.<name>, name:<name>"),
        ("Dr. A. I. Smith", "Dr. <name>"),
        ("Mr. van der Berg and Frau von der Leyen met", "Mr. <name> and Frau <name> met"),
        ("Mr Vincent van Gogh, Dr. d'Artagnan, Dear al-Rashid", "Mr <name>, Dr. <name>, Dear <name>"),
        ("Mr. 李小龙", "Mr. <name>"),
        ("Dear राहुल, hi", "Dear <name>, hi"),
        ("mail john\uff20example.com", "mail <email>"),
        ("jo\u200bhn@example.com", "<email>"),
        ("+33\u202f6\u00a012\u202f34 56 78", "<number>"),
        ("call 0170 - 1234 now", "call <number> now"),
        *(
            (f"card {between.join(['4111', '1111', '1111', '1111'])} ok", "card <number> ok")
            for between in [
                "\u00a0",
                "\u202f",
                "\u2011",
                "\u2013",
                "\u2014",
                "\u2212",
                "\t",
                " - ",
                " \u2013 ",
                "\u200b",
            ]
        ),
    ],
)
def test_addresses_numbers_and_introduced_names_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A wonderful film, I would watch it again!",
        "I miss Paris and my dear old friends. Regards to all.",
        "Rated 4.5 of 5 by 1,234 people in 1999 and 2001.",
        "The name of the rose; MS Windows; drive; mississippi; professional",
        "me @ home, a@b, user@, @handle",
        "<positive>",
        "Amélie… (2001), ½ 中文 ﷺ",
        "Dear me, regards from the van. I think so. A film.",
        "Regards. I'm off. Regards. I think. Regards: A film",
    ],
)
def test_ordinary_words_and_short_numbers_stay(text: str) -> None:
    assert mask_text(text) == text


def test_values_are_masked_wherever_they_stand_and_numbers_of_json_stay() -> None:
    value = {
        "price": 12345.67,
        "items": [{"title": "Mail a@b.cd", "count": 1234567}, None, True],
        "pair": ("Dear Anna", 1),
        "at": ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31 10:20:30.123456+01:00", "born 1980-05-01"],
    }

    assert mask(value) == {
        "price": 12345.67,
        "items": [{"title": "Mail <email>", "count": 1234567}, None, True],
        "pair": ["Dear <name>", 1],
        "at": ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31 10:20:30.123456+01:00", "born <number>"],
    }


@pytest.mark.parametrize(
    "key",
    ["name", "Name", "first_name", "last-name", "E-Mail", "phone", "address", "customer_name", "given_name",
     "family_name", "familyName", "names", "user_id", "customerId"],
)  # fmt: skip
def test_fields_that_are_personal_by_their_name_are_masked_whole(key: str) -> None:
    assert mask({key: "whatever", "other": "stays"}) == {key: "<masked>", "other": "stays"}
    assert mask({key: None}) == {key: None}


def test_names_of_fields_are_masked_too() -> None:
    assert mask({"jo@x.de": 1, "2026-01-31": 2, "label": 3}) == {"<email>": 1, "2026-01-31": 2, "label": 3}


def test_ids_of_a_catalogue_stay_and_others_are_numbers_like_any() -> None:
    value = {"id": "112852", "items": [{"id": "112853", "order_id": "112854"}], "user_id": "112855"}

    kept = {"id": "112852", "items": [{"id": "112853", "order_id": "<number>"}], "user_id": "<masked>"}
    assert mask(value, catalogue={"id"}) == kept
    assert mask(value)["id"] == "<number>"


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_every_value_of_json_is_masked_to_one(value: Any) -> None:
    masked = mask(value)

    assert json.loads(json.dumps(masked)) == masked


LONG = 200_000


@pytest.mark.parametrize(
    "unit",
    ["a", "a.", "a@", "a@a", "@", "a.@", "a-", "1", "1 ", "1 1 1 1x", "1(", "+1", "((((1", "mr ", "mr. ", "mr a. ",
     "Dear ", "dear  ", "Mr A. ", "Dear Aa ", " ", "\n", "dr\t", "my name is ", "name: ", "Aa ", "é", "e\u0301", "'",
     "regards, A", "a.b@c-", "0 (", "Miss\u2003", "ﷺ", "½", "\u0316\u0301", "de ", "Mr de ", "Aa de ", "mr A. de ",
     "d'", "al-", "李", "李. ", "\u200b", "1 - ", "1\t\t\t", "mr."],
)  # fmt: skip
@pytest.mark.parametrize("end", ["", "!"])
def test_no_text_takes_longer_than_its_length(unit: str, end: str) -> None:
    text = "mr " + unit * (LONG // len(unit)) + end

    began = time.process_time()
    mask_text(text)

    assert time.process_time() - began < 1  # a pattern that looks twice at all pairs would take minutes
