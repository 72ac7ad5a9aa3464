"""The four models of the emulated RunComfy, with input schemas and prices.

Source: RunComfy's published input schemas. Unlisted fields are rejected, so that a wrong name is found here:
it is unknown whether RunComfy itself rejects it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from bot.sandbox.models import ImageModel, Inputs, Ratio, RatioOrAuto, Urls


class Banana2(Inputs):
    num_images: Annotated[int, Field(ge=1, le=4)] = 1
    seed: int = 0
    aspect_ratio: RatioOrAuto = "auto"
    resolution: Literal["0.5K", "1K", "2K", "4K"] = "1K"
    safety_tolerance: Literal[1, 2, 3, 4, 5, 6] = 4
    limit_generations: bool = True
    enable_web_search: bool = False


class Banana2Edit(Banana2):
    image_urls: Urls


class Pro(Inputs):
    aspect_ratio: Ratio = "16:9"
    resolution: Literal["1K", "2K", "4K"] = "1K"


class ProEdit(Inputs):
    image_urls: Urls
    aspect_ratio: RatioOrAuto = "auto"
    resolution: Literal["1K", "2K", "4K"] = "1K"


MODELS: Mapping[str, ImageModel] = {
    each.id: each
    for each in (
        ImageModel("google/nano-banana-2/text-to-image", "Nano Banana 2", "text-to-image", Banana2, 0.08),
        ImageModel("google/nano-banana-2/edit", "Nano Banana 2 Edit", "image-to-image", Banana2Edit, 0.08),
        ImageModel("google/nano-banana/pro/text-to-image", "Nano Banana Pro", "text-to-image", Pro, 0.15),
        ImageModel("google/nano-banana/pro/edit", "Nano Banana Pro Edit", "image-to-image", ProEdit, 0.15),
    )
}


def read_inputs(model: ImageModel, body: bytes) -> tuple[Inputs | None, list[Any]]:
    """Return the inputs in *body*, or None and the `detail` array of RunComfy's error answer."""
    try:
        return model.inputs.model_validate_json(body), []
    except ValidationError as exc:
        problems = exc.errors(include_url=False, include_input=False, include_context=False)
        return None, [{**each, "loc": ["body", *each["loc"]]} for each in problems]


def listing(*, search: str, category: str, schema: bool) -> list[dict[str, Any]]:
    return [
        each.entry(schema=schema)
        for each in MODELS.values()
        if search.lower() in f"{each.id} {each.name}".lower() and category in ("", each.kind)
    ]
