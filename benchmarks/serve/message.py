"""What the servers without a model take and give."""

from pydantic import BaseModel


class Message(BaseModel):
    """A small JSON object."""

    text: str
    number: int
