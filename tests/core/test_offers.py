"""Models with routes at several providers: which route a request gets, what is offered, and what is sent."""

import json
import tomllib
from dataclasses import asdict
from functools import cache
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.catalog import Catalog, RequestedOptions
from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Reference, Verb
from bot.core.routes import Number, Option, Switch, Words, wire_inputs
from bot.sandbox.runcomfy import models as runcomfy_models
from bot.sandbox.runflow import models as runflow_models
from bot.settings.settings import SHIPPED

TWO, PRO = "nano-banana-2", "nano-banana-pro"
ENDPOINTS = [(model, verb) for model in (TWO, PRO) for verb in Verb]
A_PICTURE = Reference("https://cdn.discordapp.com/a.png", "a.png")
COMFY, FLOW = "runcomfy", "runflow"
LONG = {"4:1", "1:4", "8:1", "1:8"}

ODD = """
price_version = "1"
default = "odd"

[models.odd]
name = "Odd"
price = { per_image = "0.04", estimated = true, thinking = { high = "0.01" } }

[models.odd.options]
aspect_ratio = { choices = ["1:1", "4:1"], default = "1:1" }
format = { choices = ["png", "jpeg"], default = "png" }
count = { max = 4 }
safety = { max = 6, default = 4 }
thinking = { choices = ["off", "high"], default = "off" }

[[models.odd.imagine.routes]]
provider = "runcomfy"
id = "odd/one"
fields = { prompt = "prompt", aspect_ratio = "ratio", format = "format", count = "n" }
without = ["thinking", "safety"]

[[models.odd.imagine.routes]]
provider = "runflow"
id = "odd/two"
fields = { prompt = "prompt", aspect_ratio = "ratio", format = "format", safety = "tolerance", thinking = "level" }
without = ["count"]
lacks = { aspect_ratio = ["4:1"] }
strings = ["safety"]
omit = { thinking = "off" }
price = { per_image = "0.05", thinking = { high = "0.002" } }
"""


@cache
def shipped(**ceilings: Any) -> Catalog:
    raw = tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8"))
    raw["ceilings"] |= {"max_safety": 6, "web_search": True} | ceilings
    return Catalog.model_validate(raw)


@cache
def odd(max_safety: int = 4) -> Catalog:
    return Catalog.model_validate({**tomllib.loads(ODD), "ceilings": {"max_safety": max_safety}})


def ask(of: Catalog, model: str, verb: Verb = Verb.IMAGINE, /, **asked: Any) -> ImageRequest:
    references = (A_PICTURE,) if verb is Verb.EDIT else ()
    return of.request(
        model, verb, prompt="a boat", asked=RequestedOptions(**asked), references=references, drawn_seed=11
    )


def hosts_for(of: Catalog, model: str, verb: Verb = Verb.IMAGINE, /, **asked: Any) -> list[str]:
    return [each.provider for each in of.routes_for(ask(of, model, verb, **asked))]


def choices(of: Catalog, model: str, verb: Verb) -> dict[str, set[Any]]:
    """All choices by option; a seed is only present or absent."""
    return {
        name: set(_values(spec) if name != "seed" else ["any"])
        for name, spec in of.endpoint(model, verb).options
        if spec is not None
    }


def _values(spec: Option) -> list[Any]:
    match spec:
        case Words():
            return list(spec.choices)
        case Number():
            return list(range(spec.min, spec.max + 1))
        case Switch():
            return [False, True]


def _askable(spec: Option | None) -> st.SearchStrategy[Any]:
    if isinstance(spec, Number):
        return st.none() | st.integers(spec.min, spec.max)
    return st.sampled_from([None, *(_values(spec) if spec is not None else [])])


def _anything(of: Catalog, model: str, verb: Verb) -> st.SearchStrategy[RequestedOptions]:
    return st.builds(RequestedOptions, **{name: _askable(spec) for name, spec in of.endpoint(model, verb).options})


def problems(provider: str, route: str, body: dict[str, Any]) -> list[Any]:
    """Validation errors of the local service of *provider* for *body*."""
    if provider == COMFY:
        return runcomfy_models.read_inputs(runcomfy_models.MODELS[route], json.dumps(body).encode())[1]
    order = json.dumps({"input": body, "client_ref": "job", "metadata": {"job_id": "job"}}).encode()
    return runflow_models.read_submit(runflow_models.MODELS[route], order)[1]


# --- who is asked


@pytest.mark.parametrize(
    ("model", "asked", "hosts"),
    [
        (TWO, {}, [COMFY, FLOW]),
        (TWO, {"count": 4, "resolution": "4K", "safety": 6, "web_search": True, "seed": 7}, [COMFY, FLOW]),
        (TWO, {"thinking": "off", "aspect_ratio": "9:16"}, [COMFY, FLOW]),
        (TWO, {"thinking": "minimal"}, [FLOW]),
        (TWO, {"aspect_ratio": "8:1"}, [FLOW]),
        (PRO, {"resolution": "4K", "count": 1, "safety": 4, "web_search": False}, [COMFY, FLOW]),
        (PRO, {"count": 2}, [FLOW]),
        (PRO, {"safety": 3}, [FLOW]),
        (PRO, {"web_search": True}, [FLOW]),
    ],
)
def test_only_providers_that_support_the_whole_request_are_used(
    model: str, asked: dict[str, Any], hosts: list[str]
) -> None:
    for verb in Verb:
        assert hosts_for(shipped(), model, verb, **asked) == hosts
        assert hosts_for(shipped().for_providers([FLOW, COMFY]), model, verb, **asked) == hosts[::-1]


def test_a_provider_without_the_safety_option_is_not_used_where_the_ceiling_is_below_its_default() -> None:
    assert hosts_for(shipped(max_safety=4), PRO) == [COMFY, FLOW]
    assert hosts_for(shipped(max_safety=2), PRO) == [FLOW]
    assert hosts_for(shipped(max_safety=2).for_providers([COMFY]), PRO) == [COMFY]


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
def test_every_possible_request_has_a_route_and_valid_inputs_for_it(model: str, verb: Verb) -> None:
    both = shipped().for_providers([COMFY, FLOW])

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(_anything(both, model, verb))
    def check(asked: RequestedOptions) -> None:
        request = ask(both, model, verb, **asdict(asked))
        routes_for = both.routes_for(request)
        assert routes_for
        for route in routes_for:
            body = wire_inputs(route, request)
            assert problems(route.provider, route.id, body) == [], body
            assert {"sync_mode", "off"}.isdisjoint({*body, *map(str, body.values())})

    check()


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
@pytest.mark.parametrize("host", [COMFY, FLOW])
def test_every_choice_offered_for_a_provider_is_valid_there(host: str, model: str, verb: Verb) -> None:
    alone = shipped().for_providers([host])
    for name, values in choices(alone, model, verb).items():
        for value in [3] if name == "seed" else values:
            request = ask(alone, model, verb, **{name: value})
            (route,) = alone.routes_for(request)
            assert problems(host, route.id, wire_inputs(route, request)) == []


# --- what goes together


def test_options_that_no_provider_combines_are_refused_by_name() -> None:
    with pytest.raises(UserError) as caught:
        ask(odd(), "odd", aspect_ratio="4:1", thinking="high", format="jpeg")
    assert caught.value.key == "option.together"
    assert caught.value.values == {"model": "Odd", "choices": ["thinking high", "aspect_ratio 4:1"]}


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(_anything(odd(), "odd", Verb.IMAGINE).filter(lambda asked: (asked.safety or 0) <= 4))
def test_a_request_is_refused_exactly_when_no_route_supports_it(asked: RequestedOptions) -> None:
    one = asked.thinking != "high" and asked.safety in (None, 4)
    two = asked.count in (None, 1) and asked.aspect_ratio != "4:1"
    routes_for = [name for name, takes in [(COMFY, one), (FLOW, two)] if takes]
    if routes_for:
        assert hosts_for(odd(), "odd", **asdict(asked)) == routes_for
    else:
        with pytest.raises(UserError) as caught:
            ask(odd(), "odd", **asdict(asked))
        named = caught.value.values["choices"]
        assert (caught.value.key, isinstance(named, list) and len(named)) == ("option.together", 2)


def test_a_default_lowered_by_a_ceiling_counts_as_requested() -> None:
    assert hosts_for(odd(2), "odd") == [FLOW]
    with pytest.raises(UserError) as caught:
        ask(odd(2), "odd", count=2)
    assert caught.value.values["choices"] == ["safety 2", "count 2"]


# --- what each provider receives


def test_options_that_a_provider_lacks_are_not_sent() -> None:
    request = ask(odd(), "odd")
    one, two = odd().routes_for(request)
    assert wire_inputs(one, request) == {"prompt": "a boat", "ratio": "1:1", "format": "png", "n": 1}
    assert wire_inputs(two, request) == {"prompt": "a boat", "ratio": "1:1", "format": "png", "tolerance": "4"}


@pytest.mark.parametrize(("level", "sent"), [("off", {}), ("minimal", {"thinking_level": "minimal"})])
def test_thinking_that_is_off_is_not_sent_at_all(level: str, sent: dict[str, str]) -> None:
    for verb in Verb:
        request = ask(shipped().for_providers([FLOW]), TWO, verb, thinking=level)
        (route,) = shipped().for_providers([FLOW]).routes_for(request)
        body = wire_inputs(route, request)
        assert {name: body[name] for name in ("thinking_level", "thinking") if name in body} == sent
        assert (body["safety_tolerance"], body["limit_generations"]) == ("4", True)


# --- what it costs where


def test_a_route_with_its_own_price_is_quoted_at_that_price() -> None:
    catalog, cheap, deep = odd(), ask(odd(), "odd"), ask(odd(), "odd", thinking="high")
    one, two = catalog.routes_for(cheap)
    assert (catalog.quote(cheap).micro_usd, catalog.quote(cheap).estimated) == (40_000, True)
    assert catalog.quote(cheap, one) == catalog.quote(cheap)
    assert (catalog.quote(cheap, two).micro_usd, catalog.quote(cheap, two).estimated) == (50_000, False)
    assert (catalog.quote(deep).micro_usd, catalog.quote(deep).estimated) == (52_000, False)


def test_a_route_is_found_by_provider_and_id() -> None:
    request = ask(odd(), "odd")
    assert odd().route(request, provider=FLOW, id="odd/two") == odd().routes_for(request)[1]
    assert odd().route(request, provider=COMFY, id="odd/two") is None


# --- what is offered of the hosts there are


@pytest.mark.parametrize(("model", "verb"), ENDPOINTS)
def test_fewer_providers_never_offer_more_and_all_together_offer_everything(model: str, verb: Verb) -> None:
    whole, both = choices(shipped(), model, verb), choices(shipped().for_providers([FLOW, COMFY]), model, verb)
    assert both == whole
    for host in (COMFY, FLOW):
        alone = choices(shipped().for_providers([host]), model, verb)
        assert all(alone[name] <= whole[name] for name in alone), host
        assert choices(shipped().for_providers([COMFY, FLOW]).for_providers([host]), model, verb) == alone


def test_runcomfy_alone_offers_what_it_supports() -> None:
    alone = shipped().for_providers([COMFY])
    for verb in Verb:
        assert len(choices(alone, TWO, verb)["aspect_ratio"]) == 11
        assert (
            choices(shipped().for_providers([FLOW]), TWO, verb)["aspect_ratio"]
            - choices(alone, TWO, verb)["aspect_ratio"]
            == LONG
        )
        assert "thinking" not in choices(alone, TWO, verb)
        assert set(choices(alone, PRO, verb)) == {"aspect_ratio", "resolution", "format"}


def test_a_model_or_verb_without_a_route_is_removed() -> None:
    gone = {(COMFY, "google/nano-banana/pro/edit"), (FLOW, "google/nano-banana-pro/edit")}
    left = shipped().for_providers([COMFY, FLOW], gone=gone)
    assert (set(left.models_for(Verb.EDIT)), set(left.models_for(Verb.IMAGINE))) == ({TWO}, {TWO, PRO})

    gone = {(FLOW, route.id) for verb in Verb for route in shipped().endpoint(TWO, verb).routes}
    left = shipped().for_providers([FLOW, FLOW], gone=gone)
    assert (set(left.models), left.default) == ({PRO}, PRO)
    assert shipped().for_providers([]).models == {}


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        ({"count": 1, "safety": 4, "web_search": False}, None),
        ({"safety": 3}, "option.absent"),
        ({"count": 2}, "option.absent"),
    ],
)
def test_a_removed_option_may_still_be_given_with_the_providers_default(
    asked: dict[str, Any], refused: str | None
) -> None:
    """As when a job is repeated that is older than the removal of the other provider."""
    alone = shipped().for_providers([COMFY])
    if refused is None:
        assert hosts_for(alone, PRO, **asked) == [COMFY]
        assert alone.routes_for(ask(shipped(), PRO, **asked)), "a job that was taken on before"
    else:
        with pytest.raises(UserError) as caught:
            ask(alone, PRO, **asked)
        assert caught.value.key == refused


def test_a_ceiling_on_a_removed_option_refuses_no_request() -> None:
    alone = shipped(max_safety=2).for_providers([COMFY])
    assert hosts_for(alone, PRO, safety=2) == [COMFY]
    with pytest.raises(UserError) as caught:
        ask(alone, PRO, safety=1)
    assert caught.value.key == "option.absent"


# --- a host that takes no short prompts


def short(of: Catalog, prompt: str, **asked: Any) -> list[str]:
    request = of.request(TWO, Verb.IMAGINE, prompt=prompt, asked=RequestedOptions(**asked), drawn_seed=11)
    return [each.provider for each in of.routes_for(request)]


@pytest.mark.parametrize("prompt", ["hi", " h\u200bi\u2800\u00ad ", "日本"])
def test_a_prompt_too_short_for_one_provider_goes_to_the_other(prompt: str) -> None:
    both = shipped().for_providers([FLOW, COMFY])

    assert short(both, prompt) == [COMFY]
    assert short(both, "fox") == [FLOW, COMFY]
    assert short(both, "\u200b" * 99 + "fox") == [FLOW, COMFY]


@pytest.mark.parametrize(("providers", "asked"), [((FLOW,), {}), ((FLOW, COMFY), {"thinking": "high"})])
def test_a_prompt_too_short_for_every_supporting_provider_is_refused(
    providers: tuple[str, ...], asked: dict[str, str]
) -> None:
    with pytest.raises(UserError) as refused:
        short(shipped().for_providers(providers), "hi", **asked)

    assert (refused.value.key, refused.value.values["limit"]) == ("prompt.short", 3)
