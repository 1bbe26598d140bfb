"""How requests are answered, by the service and offline."""

from bentos.recommend.schema import (
    Item,
    Recommendations,
    RecommendRequest,
    SimilarItems,
    SimilarRequest,
    refusal,
    unknown_items,
)
from models.recommend import RecommendModel, Scored, UnknownItemError


class Answers:
    """A model of some version, in the words of the schema."""

    def __init__(self, model: RecommendModel, *, version: str) -> None:
        self._model, self._version = model, version

    def recommend(self, request: RecommendRequest, *where: str | int) -> Recommendations:
        """Raises ValidationError that names unknown items; `where`: the place of the request in the body."""
        k, exclude_seen = request.k, request.exclude_seen
        try:
            if request.user_id is not None:
                found = self._model.for_user(request.user_id, k=k, exclude_seen=exclude_seen)
            else:
                found = self._model.for_items(request.liked_items or [], k=k, exclude_seen=exclude_seen)
        except UnknownItemError as error:
            raise refusal(unknown_items(error.items), *where, "liked_items") from None
        return Recommendations(
            items=[_item(scored) for scored in found.items], cold_start=found.cold_start, model_version=self._version
        )

    def similar(self, request: SimilarRequest) -> SimilarItems:
        """Raises ValidationError when there is no such item."""
        try:
            found = self._model.similar(request.id, k=request.k)
        except UnknownItemError as error:
            raise refusal(unknown_items(error.items), "id") from None
        return SimilarItems(
            id=request.id,
            title=self._model.title(request.id),
            items=[_item(scored) for scored in found],
            model_version=self._version,
        )


def _item(scored: Scored) -> Item:
    return Item(id=scored.id, title=scored.title, score=round(scored.score, 6))
