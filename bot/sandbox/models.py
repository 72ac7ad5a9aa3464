"""Base types of the emulated models: validated inputs, catalogue entry and price."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Ratio = Literal["21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16"]


RatioOrAuto = Literal["auto"] | Ratio


Format = Literal["jpeg", "png", "webp"]


Urls = Annotated[list[str], Field(min_length=1, max_length=20)]


class Inputs(BaseModel):
    """Inputs of every model; `value` gives a default for options that a model does not have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: str
    output_format: Format = "png"

    def value(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


@dataclass(frozen=True, slots=True)
class ImageModel:
    """One entry of the catalogue. *price*: dollars for one picture at 1K, invented but realistic."""

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
