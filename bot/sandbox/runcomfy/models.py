"""The four models the local RunComfy offers: what they take, as the host publishes it, and what they cost.

Source: RunComfy's published input schemas. Fields it does not list are refused, so that a wrong name
is found here and not at a paid host, of which it is unknown whether it looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Ratio = Literal["21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16"]
RatioOrAuto = Literal["auto"] | Ratio
Format = Literal["jpeg", "png", "webp"]
Urls = Annotated[list[str], Field(min_length=1, max_length=20)]


class Inputs(BaseModel):
    """What every model takes; the defaults below stand for options that a model does not have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: str
    output_format: Format = "png"

    def value(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


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


@dataclass(frozen=True, slots=True)
class ImageModel:
    """One entry of the catalogue. *price* is dollars for one picture at 1K: made up, but of the right size."""

    id: str
    name: str
    kind: str
    inputs: type[Inputs]
    price: float

    def entry(self, *, schema: bool) -> dict[str, Any]:
        listed: dict[str, Any] = {
            "model_id": self.id,
            "display_name": self.name,
            "categories": [self.kind],
            "base_price_usd": self.price,
            "price_unit": "output",
            "pricing_note": "Per image at 1K; 2K, 4K and web search cost extra.",
        }
        if schema:
            listed["input_schema"] = {**self.inputs.model_json_schema(), "title": "Input"}
        return listed

    def cost_micro_usd(self, inputs: Inputs, *, images: int) -> int:
        factor = {"0.5K": 0.75, "2K": 1.5, "4K": 2.0}.get(inputs.value("resolution"), 1.0)
        searching = 0.015 if inputs.value("enable_web_search") else 0.0
        thinking = 0.002 if inputs.value("thinking_level") == "high" else 0.0
        return round((self.price * factor + searching + thinking) * 1_000_000) * images


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
    """The inputs in *body*, or None and the host's `detail` array of what is wrong with them."""
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
