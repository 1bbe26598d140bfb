# mypy: allow-untyped-decorators
# ruff: noqa: B008  # Field() in a signature is how BentoML describes an input
"""Everything that is JSON or text: scalars, models, unions, defaults, root inputs, media types."""

import asyncio
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import bentoml
from bentoml.validators import ContentType
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse, PlainTextResponse
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12


class Address(BaseModel):
    street: str
    number: int = 1


class Person(BaseModel):
    """Somebody."""

    name: str = Field(min_length=1, examples=["Ada"])
    age: int = Field(default=30, ge=0, le=150)
    address: Address | None = None
    tags: list[str] = []


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str
    n: int = 3


class Counted(BaseModel):
    """Its validator leaves something beside the fields."""

    name: str

    @cached_property
    def size(self) -> int:
        return len(self.name)

    @model_validator(mode="after")
    def _short(self) -> Self:
        assert self.size < 9
        return self


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Score(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    value: float
    label: str = Field(serialization_alias="Label")


class Options(TypedDict):
    depth: int
    name: str


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


@bentoml.service(traffic={"timeout": 30}, threads=4)
class JsonZoo:
    """A zoo of values."""

    # Scalars

    @bentoml.api
    def add(self, a: int, b: int = 2) -> int:
        """The sum."""
        return a + b

    @bentoml.api
    async def add_async(self, a: int, b: int = 2) -> int:
        await asyncio.sleep(0)
        return a + b

    @bentoml.api
    def scale(self, x: float, by: float = Field(2.0, gt=0, description="factor")) -> float:
        return x * by

    @bentoml.api
    def shout(self, text: str = Field(max_length=1000, examples=["hello"])) -> str:
        return text.upper()

    @bentoml.api
    def flip(self, on: bool) -> bool:
        return not on

    @bentoml.api
    def nothing(self) -> None:
        return None

    @bentoml.api
    def length(self, text: str) -> int:
        return len(text)

    @bentoml.api
    def not_a_number(self) -> float:
        return float("nan")

    # Whatever

    @bentoml.api
    def anything(self, value: Any) -> Any:
        return value

    @bentoml.api
    def untyped(self, value, other=5):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return [value, other]

    @bentoml.api
    def mapping(self, items: dict[str, int]) -> dict[str, int]:
        return items

    @bentoml.api
    def couple(self, couple: tuple[int, str]) -> tuple[int, str]:
        return couple

    @bentoml.api
    def unique(self, items: set[int]) -> list[int]:
        return sorted(items)

    @bentoml.api
    def maybe(self, text: str | None = None) -> str | None:
        return text

    @bentoml.api
    def either(self, value: int | str) -> dict[str, Any]:
        return {"type": type(value).__name__, "value": value}

    @bentoml.api
    def when(
        self, at: datetime, day: date, took: timedelta = timedelta(minutes=1), price: Decimal = Decimal("1.50")
    ) -> dict[str, Any]:
        return {"at": at, "day": day, "took": took, "price": price}

    @bentoml.api
    def identity(self, key: UUID) -> UUID:
        return key

    @bentoml.api
    def colour(self, colour: Colour = Colour.RED) -> Colour:
        return colour

    @bentoml.api
    def choice(self, size: Literal["s", "m"] = "s") -> str:
        return size

    @bentoml.api
    def options(self, options: Options) -> Options:
        return options

    # Models

    @bentoml.api
    def greet(self, person: Person, loud: bool = False) -> Person:
        return person.model_copy(update={"tags": [*person.tags, "loud" if loud else "quiet"]})

    @bentoml.api
    def people(self, people: list[Person]) -> list[Person]:
        return sorted(people, key=lambda person: person.name)

    @bentoml.api
    def directory(self, people: dict[str, Person]) -> dict[str, Person]:
        return people

    @bentoml.api
    def pet(self, pet: Cat | Dog = Field(discriminator="kind")) -> dict[str, Any]:
        return pet.model_dump()

    @bentoml.api
    def score(self, value: float) -> Score:
        return Score(value=value, label="x")

    @bentoml.api(input_spec=Strict)
    def strict(self, name: str, n: int) -> dict[str, Any]:
        return {"name": name, "n": n}

    @bentoml.api(input_spec=Counted)
    def counted(self, **given: Any) -> list[str]:
        return sorted(given)

    @bentoml.api(output_spec=Person)
    def spelled_out(self, name: str) -> Any:
        return Person(name=name)

    # Fields

    @bentoml.api
    def blank(self, text: Annotated[str, AfterValidator(_not_blank)]) -> str:
        return text

    @bentoml.api
    def fields(
        self,
        n: int = Field(1, ge=0, lt=10, multiple_of=1),
        word: str = Field("abc", pattern="^[a-z]+$"),
        items: list[int] = Field(default_factory=lambda: [1, 2], max_length=3),
    ) -> list[Any]:
        return [n, word, items]

    @bentoml.api
    def many(self, *numbers: int) -> Any:
        return numbers

    @bentoml.api
    def keywords(self, first: int = 1, **rest: Any) -> Any:
        return {"first": first, "rest": rest}

    # Root inputs

    @bentoml.api
    def person_root(self, person: Person, /) -> Person:
        return person

    @bentoml.api
    def list_root(self, numbers: list[int], /) -> list[int]:
        return numbers[::-1]

    @bentoml.api
    def text_root(self, text: str, /) -> str:
        return f"<{text}>"

    @bentoml.api
    def number_root(self, n: int, /) -> int:
        return n + 1

    @bentoml.api
    def default_root(self, n: int = 5, /) -> int:
        return n + 1

    @bentoml.api
    def any_root(self, value: Any, /) -> Any:
        return value

    # Bytes and media types

    @bentoml.api
    def blob(self, data: bytes) -> bytes:
        return data[::-1]

    @bentoml.api
    def blob_root(self, data: bytes, /) -> bytes:
        return data[::-1]

    @bentoml.api
    def html(self) -> Annotated[str, ContentType("text/html")]:
        return "<p>zoo</p>"

    @bentoml.api
    def xml_root(self, text: Annotated[str, ContentType("application/xml")], /) -> Annotated[str, ContentType("a/b")]:
        return text

    @bentoml.api
    def own_response(self, kind: str = "json") -> Any:
        if kind == "json":
            return JSONResponse({"own": True}, status_code=202, headers={"x-own": "yes"})
        return PlainTextResponse("own", status_code=418)

    # Routes

    @bentoml.api(route="/v1/deep/Route")
    def routed(self, a: int = 1) -> int:
        return a

    @bentoml.api(route="/täglich")
    def unicode_route(self) -> str:
        return "jeden Tag"

    @bentoml.api
    def nap(self, seconds: float = 0.2) -> Mapping[str, float]:
        time.sleep(seconds)
        return {"slept": seconds}

    def _private(self) -> int:
        return 1
