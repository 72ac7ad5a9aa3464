"""Requests: validation against the catalogue, prices, and the inputs that are sent."""

import itertools
import json
import tomllib
from dataclasses import asdict, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Reference, Verb
from bot.core.routes import Number, Route, Switch, Words, wire_inputs
from bot.settings.settings import SHIPPED

SCHEMAS = Path(__file__).parent.parent / "samples" / "schemas"
A_PICTURE = Reference("https://cdn.discordapp.com/a.png", "a.png")
TWO, PRO = "nano-banana-2", "nano-banana-pro"
ENDPOINTS = [(model, verb) for model in (TWO, PRO) for verb in Verb]

LITE = """
[models.lite]
name = "Nano Banana 2 Lite"
price = { per_image = "0.0333333", estimated = true }

[models.lite.options]
aspect_ratio = { choices = ["1:1", "4:1", "1:8"], default = "1:1" }
count = { max = 2 }
seed = { min = 5, max = 7 }

[models.lite.imagine]
routes = [{ provider = "runcomfy", id = "google/nano-banana-2-lite/text-to-image", fields = { prompt = "text", aspect_ratio = "ratio", count = "number_of_images", seed = "random_seed" }, fixed = { sync_mode = false, tier = "std" } }]

[models.lite.edit]
references = 10
routes = [{ provider = "runcomfy", id = "google/nano-banana-2-lite/edit", fields = { prompt = "text", references = "images", aspect_ratio = "ratio", count = "number_of_images", seed = "random_seed" } }]
"""  # noqa: E501 - an inline table has no line breaks


@cache
def catalog(**ceilings: Any) -> Catalog:
    raw = tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8") + LITE)
    raw["ceilings"] |= ceilings
    return Catalog.model_validate(raw)


def ask(model: str, verb: Verb = Verb.IMAGINE, *, of: Catalog | None = None, **asked: Any) -> ImageRequest:
    references = (A_PICTURE,) if verb is Verb.EDIT else ()
    return (of or catalog()).request(
        model, verb, prompt="a boat", asked=RequestedOptions(**asked), references=references, drawn_seed=11
    )


def refusal(model: str = TWO, verb: Verb = Verb.IMAGINE, *, of: Catalog | None = None, **asked: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        ask(model, verb, of=of, **asked)
    return caught.value


@cache
def at(host: str) -> Catalog:
    return catalog(max_safety=6, web_search=True).for_providers([host])


def route(model: str, verb: Verb) -> Route:
    return catalog().endpoint(model, verb).routes[0]


def schema(model: str, verb: Verb) -> dict[str, Any]:
    name = route(model, verb).id.replace("/", "_")
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return found


# --- the hosts' own schemas: RunComfy's as it publishes them; what the local service of both takes is in test_offers.py


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
def test_the_catalogue_names_exactly_the_inputs_of_the_providers_schema(model: str, verb: Verb) -> None:
    ours = route(model, verb)
    has = {name for name, option in at("runcomfy").endpoint(model, verb).options if option is not None}
    used = {"prompt", *has} | ({"references"} if verb is Verb.EDIT else set())
    assert {ours.fields[name] for name in used} | set(ours.fixed) == set(schema(model, verb)["properties"])


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
def test_choices_and_defaults_are_those_of_the_providers_schema(model: str, verb: Verb) -> None:
    fields, properties = route(model, verb).fields, schema(model, verb)["properties"]
    for name, option in at("runcomfy").endpoint(model, verb).options:
        theirs = properties[fields[name]] if option is not None else {}
        if isinstance(option, Words):
            assert (set(option.choices), option.default) == (set(theirs["enum"]), theirs["default"])
        elif isinstance(option, Switch):
            assert option.default is theirs["default"]
        elif isinstance(option, Number) and name != "seed":  # a seed is always drawn
            numbers = theirs.get("enum") or [theirs["minimum"], theirs["maximum"]]
            assert (option.min, option.max, option.default) == (min(numbers), max(numbers), theirs["default"])


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
def test_the_number_of_references_is_that_of_the_providers_schema(model: str, verb: Verb) -> None:
    takes = schema(model, verb)["properties"].get("image_urls", {"maxItems": 0})["maxItems"]
    assert catalog().endpoint(model, verb).references <= takes


def _askable(option: Words | Number | Switch | None) -> st.SearchStrategy[Any]:
    match option:
        case Words():
            return st.none() | st.sampled_from(option.choices)
        case Number():
            return st.none() | st.integers(option.min, option.max)
        case Switch():
            return st.none() | st.booleans()
        case None:
            return st.none()


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
def test_every_request_gives_inputs_that_fit_the_providers_schema(model: str, verb: Verb) -> None:
    generous = at("runcomfy")
    endpoint, validator = generous.endpoint(model, verb), jsonschema.Draft202012Validator(schema(model, verb))

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(
        st.builds(RequestedOptions, **{name: _askable(each) for name, each in endpoint.options}),
        st.integers(0, 2**31 - 1),
    )
    def check(asked: RequestedOptions, drawn: int) -> None:
        pictures = (A_PICTURE,) * endpoint.references
        request = generous.request(model, verb, prompt=" a boat ", asked=asked, references=pictures, drawn_seed=drawn)
        body = wire_inputs(endpoint.routes[0], request)
        validator.validate(body)
        assert body["prompt"] == " a boat "
        assert json.loads(json.dumps(body)) == body

    check()


@pytest.mark.parametrize(
    ("model", "verb", "body"),
    [
        (
            TWO,
            Verb.IMAGINE,
            {
                "prompt": "a boat", "aspect_ratio": "auto", "resolution": "1K", "output_format": "png", "num_images": 1,
                "seed": 12, "safety_tolerance": 4, "enable_web_search": False, "limit_generations": True,
            },
        ),
        (
            PRO,
            Verb.EDIT,
            {
                "prompt": "a boat", "aspect_ratio": "auto", "resolution": "1K", "output_format": "png",
                "image_urls": ["https://cdn.discordapp.com/a.png"],
            },
        ),
    ],
)  # fmt: skip
def test_options_that_were_not_given_are_sent_with_their_defaults(model: str, verb: Verb, body: dict[str, Any]) -> None:
    assert wire_inputs(route(model, verb), ask(model, verb)) == body


# --- a model that nobody wrote code for


def test_another_model_is_an_entry_with_its_own_field_names() -> None:
    request = ask("lite", aspect_ratio="4:1", count=2)
    assert wire_inputs(route("lite", Verb.IMAGINE), request) == {
        "text": "a boat", "ratio": "4:1", "number_of_images": 2, "random_seed": 7, "sync_mode": False, "tier": "std",
    }  # fmt: skip
    assert catalog().quote(request).micro_usd == 33_334


def test_another_model_edits_with_its_own_field_names() -> None:
    request = ask("lite", Verb.EDIT, seed=5)
    assert wire_inputs(route("lite", Verb.EDIT), request) == {
        "text": "a boat", "ratio": "1:1", "number_of_images": 1, "random_seed": 5, "images": [A_PICTURE.url],
    }  # fmt: skip
    assert refusal("lite", resolution="2K").values["has"] == ["Nano Banana 2", "Nano Banana Pro"]


def test_a_number_is_sent_as_a_string_where_the_provider_expects_one() -> None:
    asked, ours = ask(TWO, safety=3, count=2), route(TWO, Verb.IMAGINE)
    body = wire_inputs(ours.model_copy(update={"strings": frozenset({"safety"})}), asked)
    assert body == wire_inputs(ours, asked) | {"safety_tolerance": "3"}


@pytest.mark.parametrize("drawn", [0, 1, 2, 3, 2**31 - 1, 2**40])
def test_a_random_seed_is_in_the_models_range(drawn: int) -> None:
    request = catalog().request("lite", Verb.IMAGINE, prompt="x", asked=RequestedOptions(), drawn_seed=drawn)
    assert 5 <= int(request.options["seed"]) <= 7


# --- refusals say what would work


def test_an_unknown_model_is_refused_with_the_names_of_all_models() -> None:
    error = refusal("dall-e")
    assert error.key == "option.model"
    assert error.values["choices"] == ["Nano Banana 2", "Nano Banana Pro", "Nano Banana 2 Lite"]


@pytest.mark.parametrize(
    ("model", "asked", "key", "helps"),
    [
        (TWO, {"resolution": "8K"}, "option.choice", {"choices": ["0.5K", "1K", "2K", "4K"]}),
        (PRO, {"resolution": "0.5K"}, "option.choice", {"choices": ["1K", "2K", "4K"]}),
        (TWO, {"format": "gif"}, "option.choice", {"choices": ["png", "jpeg", "webp"]}),
        (TWO, {"count": 5}, "option.range", {"low": 1, "high": 4}),
        (TWO, {"count": 0}, "option.range", {"low": 1, "high": 4}),
        (TWO, {"seed": 0}, "option.range", {"low": 1, "high": 2**31 - 1}),
        (TWO, {"seed": 2**31}, "option.range", {"low": 1, "high": 2**31 - 1}),
        (TWO, {"safety": 5}, "option.ceiling", {"limit": 4}),
        (TWO, {"web_search": True}, "option.switched_off", {"option": "web_search"}),
        (PRO, {"seed": 7}, "option.absent", {"has": ["Nano Banana 2", "Nano Banana 2 Lite"]}),
        (PRO, {"thinking": "high"}, "option.absent", {"has": ["Nano Banana 2"]}),
    ],
)
def test_a_refused_option_names_what_is_valid(
    model: str, asked: dict[str, Any], key: str, helps: dict[str, Any]
) -> None:
    error = refusal(model, **asked)
    assert error.key == key
    assert error.values["option"] == next(iter(asked))
    assert {name: error.values[name] for name in helps} == helps


def test_a_model_that_has_an_option_for_another_command_only_is_not_offered_for_it() -> None:
    raw = tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8") + LITE)
    imagine = raw["models"]["lite"]["imagine"]
    imagine["options"] = {"thinking": {"choices": ["off", "high"], "default": "off"}}
    imagine["routes"][0]["fields"]["thinking"] = "thinking"
    models = Catalog.model_validate(raw)

    assert ask("lite", of=models, thinking="high").options["thinking"] == "high"
    error = refusal("lite", Verb.EDIT, of=models, thinking="high")
    assert (error.key, error.values["has"]) == ("option.absent", ["Nano Banana 2"])
    error = refusal("lite", Verb.EDIT, of=models.for_providers(["runcomfy"]), thinking="high")
    assert (error.key, error.values["has"]) == ("option.absent", [])


def test_of_old_options_only_those_still_offered_are_kept() -> None:
    old = RequestedOptions(
        aspect_ratio="4:1", resolution="2K", count=2, seed=9, safety=6, web_search=True, thinking="high"
    )

    assert catalog(web_search=True, max_safety=6).still_offered(TWO, Verb.EDIT, old) == old
    assert catalog().still_offered(TWO, Verb.EDIT, old) == replace(old, safety=4, web_search=None)
    assert catalog().still_offered("lite", Verb.EDIT, old) == RequestedOptions(aspect_ratio="4:1", count=2)
    assert catalog().still_offered("never heard of", Verb.EDIT, old) == old


def test_every_option_kept_of_old_ones_is_accepted() -> None:
    for host, (model, verb) in itertools.product(("runcomfy", "runflow"), ENDPOINTS):
        models = catalog().for_providers([host])
        for ratio, count, thinking in itertools.product((None, "8:1", "16:9"), (None, 1, 4), (None, "off", "high")):
            old = RequestedOptions(
                aspect_ratio=ratio, count=count, thinking=thinking, safety=6, resolution="0.5K", seed=3
            )
            left = models.still_offered(model, verb, old)
            assert models.routes_for(ask(model, verb, of=models, **asdict(left))), (host, model, verb, old)


def test_a_neutral_value_of_an_absent_option_is_accepted() -> None:
    alone = ask("lite", web_search=False, thinking="off").options
    assert not {"web_search", "thinking"} & set(alone)


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_a_prompt_without_visible_characters_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match=r"prompt\.empty"):
        catalog().request(TWO, Verb.IMAGINE, prompt=prompt, asked=RequestedOptions(), drawn_seed=1)


def test_a_prompt_may_have_as_many_characters_as_the_limit() -> None:
    assert catalog().request(TWO, Verb.IMAGINE, prompt="x" * 4000, asked=RequestedOptions(), drawn_seed=1)
    with pytest.raises(UserError) as caught:
        catalog().request(TWO, Verb.IMAGINE, prompt="x" * 4001, asked=RequestedOptions(), drawn_seed=1)
    assert (caught.value.key, caught.value.values["limit"]) == ("prompt.long", 4000)


@pytest.mark.parametrize(
    ("verb", "pictures", "key"),
    [(Verb.EDIT, 0, "references.none"), (Verb.EDIT, 15, "references.many"), (Verb.IMAGINE, 1, "references.many")],
)
def test_too_few_or_too_many_references_are_refused(verb: Verb, pictures: int, key: str) -> None:
    with pytest.raises(UserError) as caught:
        catalog().request(
            TWO, verb, prompt="x", asked=RequestedOptions(), references=(A_PICTURE,) * pictures, drawn_seed=1
        )
    assert caught.value.key == key


# --- ceilings


def test_a_default_above_the_ceiling_is_lowered_without_an_error() -> None:
    assert ask(TWO, of=catalog(max_safety=2)).options["safety"] == 2
    assert refusal(of=catalog(max_safety=2), safety=3).values["limit"] == 2
    assert ask(TWO, of=catalog(max_safety=6), safety=6).options["safety"] == 6


def test_searching_the_web_is_off_until_the_operator_allows_it() -> None:
    assert ask(TWO, web_search=False).options["web_search"] is False
    assert ask(TWO, of=catalog(web_search=True), web_search=True).options["web_search"] is True


# --- prices


@pytest.mark.parametrize(
    ("model", "asked", "micro_usd"),
    [
        (TWO, {}, 80_000),
        (TWO, {"resolution": "0.5K"}, 60_000),
        (TWO, {"resolution": "2K"}, 120_000),
        (TWO, {"resolution": "4K", "count": 4}, 160_000),
        (TWO, {"resolution": "4K", "web_search": True}, 175_000),
        (TWO, {"thinking": "off"}, 80_000),
        (TWO, {"thinking": "minimal"}, 80_000),
        (TWO, {"thinking": "high", "resolution": "2K"}, 122_000),
        (PRO, {"resolution": "2K"}, 150_000),
        (PRO, {"resolution": "4K"}, 300_000),
    ],
)
def test_a_quote_is_for_one_picture_of_the_size_asked_for(model: str, asked: dict[str, Any], micro_usd: int) -> None:
    generous = catalog(web_search=True)
    quote = generous.quote(ask(model, of=generous, **asked))
    assert (quote.micro_usd, quote.version, quote.estimated) == (micro_usd, "2026-11", True)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.decimals(0, 100, places=9), st.decimals(0, 10, places=4), st.decimals(0, 1, places=9))
def test_a_quote_is_rounded_up_by_less_than_a_micro_dollar(per_image: Decimal, factor: Decimal, web: Decimal) -> None:
    raw = tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8"))
    raw["models"][TWO]["price"] = {"per_image": per_image, "resolution": {"1K": factor}, "web_search": web}
    raw["ceilings"]["web_search"] = True
    priced = Catalog.model_validate(raw)
    quote = priced.quote(ask(TWO, of=priced, web_search=True))
    assert 0 <= quote.micro_usd - (per_image * factor + web) * 1_000_000 < 1
