# mypy: allow-untyped-decorators
# ruff: noqa: B008  # Field() in a signature is how BentoML describes an input
"""Files, images and bytes: by multipart form, and as the body."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType, FileSchema
from PIL import Image as Pictures
from PIL.Image import Image
from pydantic import BaseModel, Field


class Note(BaseModel):
    text: str
    stars: int = 5


def _facts(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    return {"bytes": len(data), "sha1": hashlib.sha1(data).hexdigest(), "suffix": file.suffix}  # noqa: S324


@bentoml.service(traffic={"timeout": 30})
class FileZoo:
    @bentoml.api
    def facts(self, file: Path) -> dict[str, Any]:
        return _facts(file)

    @bentoml.api
    async def facts_async(self, file: Path, note: str = "none") -> dict[str, Any]:
        return {**_facts(file), "note": note}

    @bentoml.api
    def mixed(
        self, file: Path, n: int, word: str = "w", items: list[int] = Field([1]), note: Note | None = None
    ) -> dict[str, Any]:
        return {**_facts(file), "n": n, "word": word, "items": items, "note": note and note.model_dump()}

    @bentoml.api
    def several(self, files: list[Path]) -> list[int]:
        return [file.stat().st_size for file in files]

    @bentoml.api
    def optional(self, file: Path | None = None, word: str = "none") -> str:
        return f"{word} {file.stat().st_size}" if file else word

    @bentoml.api
    def two(self, left: Path, right: Path) -> bool:
        return left.read_bytes() == right.read_bytes()

    @bentoml.api
    def file_root(self, file: Path, /) -> dict[str, Any]:
        return _facts(file)

    @bentoml.api
    def sound(self, file: Annotated[Path, ContentType("audio/*")]) -> int:
        return file.stat().st_size

    @bentoml.api
    def sound_root(self, file: Annotated[Path, ContentType("audio/mpeg")], /) -> int:
        return file.stat().st_size

    @bentoml.api
    def give(self, name: str, text: str, ctx: bentoml.Context) -> Path:
        made = Path(ctx.temp_dir) / name
        made.write_text(text)
        return made

    @bentoml.api
    def give_sound(self, ctx: bentoml.Context) -> Annotated[Path, ContentType("audio/mpeg")]:
        made = Path(ctx.temp_dir) / "tune"
        made.write_bytes(b"tada")
        return made

    @bentoml.api
    def give_bytes(self) -> Annotated[bytes, ContentType("image/x-zoo")]:
        return b"\x00\x01\xff"

    @bentoml.api
    def upper(self, file: Path, ctx: bentoml.Context) -> Annotated[Path, FileSchema(content_type="text/plain")]:
        made = Path(ctx.temp_dir) / "upper"
        made.write_text(file.read_text().upper())
        return made

    # Images

    @bentoml.api
    def size(self, image: Image) -> list[int]:
        return list(image.size)

    @bentoml.api
    def turn(self, image: Image, angle: int = 90) -> Image:
        return image.rotate(angle, expand=True)

    @bentoml.api
    def keep_format(self, image: Image) -> Image:
        return image

    @bentoml.api
    def sizes(self, images: list[Image], prefix: str = "") -> list[str]:
        return [f"{prefix}{image.width}x{image.height}" for image in images]

    @bentoml.api
    def image_root(self, image: Image, /) -> Image:
        return image.convert("L")

    @bentoml.api
    def png_root(self, image: Annotated[Image, ContentType("image/png")], /) -> str:
        return f"{image.format} {image.mode}"

    @bentoml.api
    def draw(self, width: int = 2, height: int = 3) -> Image:
        return Pictures.new("RGB", (width, height), "red")
