"""The four models of the emulated Runflow, with input schemas and prices.

Sources: docs.runflow.io/models/google/nano-banana-2 and related pages. Price tiers, the price of searching with Pro
and thinking in edits are from the price list it resells; the ratios of the Pro models and the maximum of reference
pictures are Google's. Unlisted fields are rejected, as at the emulated RunComfy. So is `sync_mode`, which is listed:
a run made with it is in no history, so that an unanswered submit could never be looked up.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError, field_validator

from bot.sandbox.models import ImageModel, Inputs, Ratio

AnyRatio = Literal["auto", Ratio]
LongRatio = Literal[AnyRatio, "4:1", "1:4", "8:1", "1:8"]
Tolerance = Literal["1", "2", "3", "4", "5", "6"]
Urls = Annotated[list[str], Field(min_length=1, max_length=14)]
SYNC_MODE = "sync_mode was sent: such a run can never be found again"


class Banana2(Inputs):
    prompt: Annotated[str, Field(min_length=3, max_length=50_000)]
    resolution: Literal["0.5K", "1K", "2K", "4K"] = "1K"
    aspect_ratio: LongRatio = "auto"
    enable_web_search: bool = False
    thinking_level: Literal["minimal", "high"] | None = None
    num_images: Annotated[int, Field(ge=1, le=4)] = 1
    safety_tolerance: Tolerance = "4"
    seed: int | None = None
    limit_generations: bool = True


class Banana2Edit(Banana2):
    image_urls: Urls


class Pro(Inputs):
    prompt: Annotated[str, Field(min_length=3, max_length=50_000)]
    resolution: Literal["1K", "2K", "4K"] = "1K"
    aspect_ratio: AnyRatio = "auto"
    enable_web_search: bool = False
    num_images: Annotated[int, Field(ge=1, le=4)] = 1
    safety_tolerance: Tolerance = "4"
    seed: int | None = None


class ProEdit(Pro):
    image_urls: Urls
    limit_generations: bool = False


class SubmitBody(BaseModel):
    """The body of a submit around the model's input."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    input: dict[str, Any]
    callback_url: Annotated[str, Field(max_length=2048)] | None = None
    metadata: dict[str, Any] | None = None
    client_ref: Annotated[str, Field(min_length=1, max_length=255)] | None = None

    @field_validator("callback_url")
    @classmethod
    def _is_a_link(cls, value: str | None) -> str | None:
        return value if value is None else value if AnyHttpUrl(value) else None


MODELS: Mapping[str, ImageModel] = {
    each.id: each
    for each in (
        ImageModel("google/nano-banana-2", "Nano Banana 2", "text-to-image", Banana2, 0.08),
        ImageModel("google/nano-banana-2/edit", "Nano Banana 2 Edit", "image-to-image", Banana2Edit, 0.08),
        ImageModel("google/nano-banana-pro", "Nano Banana Pro", "text-to-image", Pro, 0.15),
        ImageModel("google/nano-banana-pro/edit", "Nano Banana Pro Edit", "image-to-image", ProEdit, 0.15),
    )
}


def uuid_of(model: str) -> str:
    """Return the UUID that names a model in records, derived from its id."""
    return str(uuid5(NAMESPACE_URL, f"runflow:{model}"))


def entry(model: ImageModel, *, schema: bool = True) -> dict[str, Any]:
    owner, _, slug = model.id.partition("/")
    listed: dict[str, Any] = {
        "id": uuid_of(model.id),
        "owner": owner,
        "slug": slug,
        "name": model.name,
        "type": model.kind,
        "status_code": "active",
        "availability_status": "available",
        "pricing_note": f"${model.price:.2f} per image (1K default)",
        "deleted_at": None,
    }
    if schema:
        listed["input_schema"] = {**model.inputs.model_json_schema(), "title": "Input"}
    return listed


def read_submit(model: ImageModel, body: bytes) -> tuple[tuple[SubmitBody, Inputs] | None, list[dict[str, str]]]:
    """Return the parsed *body* and its input, or None and the `errors` array of Runflow's error answer."""
    try:
        submit = SubmitBody.model_validate_json(body)
        if "sync_mode" in submit.input:
            return None, [{"field": "input.sync_mode", "message": SYNC_MODE}]
        inputs = model.inputs.model_validate_json(json.dumps(submit.input))  # as JSON, where strict types are JSON's
    except ValidationError as exc:
        where = [] if exc.title == SubmitBody.__name__ else ["input"]
        problems = exc.errors(include_url=False, include_input=False, include_context=False)
        return None, [
            {"field": ".".join(map(str, [*where, *each["loc"]])), "message": each["msg"]} for each in problems
        ]
    return (submit, inputs), []
