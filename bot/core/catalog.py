"""The catalogue: models with their options, prices and routes, read from `bot/config/models.toml` and validated.

Members choose a *model*; a *route* is the model's address at one provider. A new model of a known provider needs an
entry in the file and no code.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from bot.core.errors import UserError
from bot.core.jobs import AppliedStyle, ImageRequest, Reference, Verb
from bot.core.polling import Timing
from bot.core.references import ReferenceLimits
from bot.core.routes import Endpoint, Number, Option, Part, Price, Route, Switch, Wire, Word, Words, default_of
from bot.core.styles import ConfiguredStyle
from bot.core.visible import visible

DAY_SECONDS = 86_400.0
NEUTRAL_VALUES: Mapping[str, Wire] = {"count": 1, "web_search": False, "thinking": "off"}  # no different from not given


class Model(Part):
    name: Annotated[str, Field(min_length=1, max_length=60)]
    about: str = ""
    price: Price
    timing: Timing = Timing()
    usual: Mapping[str, tuple[int | float, int | float]] = Field(default_factory=dict)  # seconds by resolution
    imagine: Endpoint | None = None
    edit: Endpoint | None = None

    @model_validator(mode="before")
    @classmethod
    def _share_options(cls, raw: Any) -> Any:
        """Copy the model's `options` to both verbs; a verb's own options override them one by one."""
        if not isinstance(raw, dict) or "options" not in raw:
            return raw
        shared = raw["options"]
        merged = {key: value for key, value in raw.items() if key != "options"}
        for verb in Verb:
            endpoint = merged.get(verb)
            own = endpoint.get("options", {}) if isinstance(endpoint, dict) else None
            if isinstance(shared, dict) and isinstance(own, dict):
                merged[verb] = {**merged[verb], "options": {**shared, **own}}
        return merged

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not visible(self.name):
            raise ValueError("name: it has no visible character")
        if self.imagine is None and self.edit is None:
            raise ValueError("a model needs imagine, edit or both")
        if self.edit is not None and self.edit.references < 1:
            raise ValueError("edit needs references of at least 1")
        if wrong := [name for name, (low, high) in self.usual.items() if not 0 < low <= high]:
            raise ValueError(f"usual {wrong[0]}: from and to, in seconds")
        if not all(0 < each <= DAY_SECONDS for each in (self.timing.shortest, self.timing.rare)):
            raise ValueError("timing: shortest and rare are seconds above 0")
        if not 0 < self.timing.soft <= self.timing.hard <= self.timing.give_up <= DAY_SECONDS:
            raise ValueError("timing: soft comes before hard, and hard before give_up")
        return self

    def endpoint(self, verb: Verb) -> Endpoint | None:
        return self.imagine if verb is Verb.IMAGINE else self.edit

    def for_providers(self, providers: Sequence[str], *, gone: Collection[tuple[str, str]]) -> Self | None:
        left = {}
        for verb in Verb:
            endpoint = self.endpoint(verb)
            routes = [
                route
                for provider in dict.fromkeys(providers)
                for route in (endpoint.routes if endpoint else ())
                if route.provider == provider and (provider, route.id) not in gone
            ]
            left[verb.value] = endpoint.with_routes(routes) if endpoint else None
        return self.model_copy(update=left) if any(left.values()) else None


class Ceilings(Part):
    """The operator's upper limits for members, whatever a model supports."""

    max_safety: Annotated[int, Field(ge=1)] = 4
    web_search: bool = False
    prompt: Annotated[int, Field(ge=1, le=4000)] = 4000  # characters; the limit of Discord's forms


@dataclass(frozen=True, slots=True)
class RequestedOptions:
    """Options as a member gave them; None means not given."""

    aspect_ratio: str | None = None
    resolution: str | None = None
    format: str | None = None
    count: int | None = None
    seed: int | None = None
    safety: int | None = None
    web_search: bool | None = None
    thinking: str | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of one picture, fixed when a job is accepted."""

    micro_usd: int
    version: str
    estimated: bool


class Catalog(Part):
    price_version: Annotated[str, Field(min_length=1, max_length=40)]
    default: str
    ceilings: Ceilings = Ceilings()
    models: Annotated[Mapping[Word, Model], Field(min_length=1, max_length=25)]
    styles: Annotated[Mapping[Word, ConfiguredStyle], Field(max_length=20)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        names = [visible(each.name).casefold() for each in self.models.values()]
        if twice := [each.name for each in self.models.values() if names.count(visible(each.name).casefold()) > 1]:
            raise ValueError(f"two models have the same visible name: {twice[0]!r} and {twice[1]!r}")
        if self.default not in self.models:
            raise ValueError(f"default {self.default!r} is not among the models")
        return self

    @model_validator(mode="after")
    def _styles_are_possible(self) -> Self:
        names: dict[str, str] = {}
        for key, style in self.styles.items():
            twin = names.setdefault(visible(style.name).casefold(), key)
            if twin != key:
                raise _at(("styles", key, "name"), f"the style {twin} has the same name, {style.name!r}")
            if style.model is not None and style.model not in self.models:
                raise _at(("styles", key, "model"), f"{style.model!r} is not among the models")
            for option, value in style.given.items():
                if not self.has_value(option, value):
                    raise _at(("styles", key, "options", option), f"no model has the value {value!r}")
        return self

    def for_providers(self, providers: Sequence[str], *, gone: Collection[tuple[str, str]] = ()) -> Self:
        """The part of the catalogue that *providers* (preferred first) support, without the *gone* routes.

        *gone* has (provider, route id). Routes, choices, options and models that no provider supports are left out;
        the result may have no model.
        """
        left = {
            key: each
            for key, model in self.models.items()
            if (each := model.for_providers(providers, gone=gone)) is not None
        }
        default = self.default if self.default in left else next(iter(left), self.default)
        return self.model_copy(update={"models": left, "default": default})

    def routes_at(self, provider: str) -> Mapping[str, tuple[str, ...]]:
        """The route ids at *provider*, sorted, each with the display names of its models."""
        models: dict[str, list[str]] = {}
        for model in self.models.values():
            for endpoint in (model.imagine, model.edit):
                for route in endpoint.routes if endpoint else ():
                    if route.provider == provider:
                        models.setdefault(route.id, []).append(model.name)
        return {route: tuple(dict.fromkeys(names)) for route, names in sorted(models.items())}

    def has_value(self, option: str, value: Wire) -> bool:
        """Whether any model has *option* with this *value*."""
        endpoints = [endpoint for model in self.models.values() for endpoint in (model.imagine, model.edit) if endpoint]
        return any(_is_value(getattr(each.options, option, None), value) for each in endpoints)

    def models_for(self, verb: Verb) -> Mapping[str, Model]:
        return {key: model for key, model in self.models.items() if model.endpoint(verb) is not None}

    def endpoint(self, model: str, verb: Verb) -> Endpoint:
        """The endpoint of *model* for *verb*; `UserError` with key `option.model` where there is none."""
        entry = self.models.get(model)
        endpoint = entry.endpoint(verb) if entry else None
        if endpoint is None:
            names = [each.name for each in self.models_for(verb).values()]
            raise UserError("option.model", given=model, choices=names)
        return endpoint

    def request(
        self,
        model: str,
        verb: Verb,
        *,
        prompt: str,
        asked: RequestedOptions,
        references: tuple[Reference, ...] = (),
        drawn_seed: int,
        style: AppliedStyle | None = None,
    ) -> ImageRequest:
        """Validate what was asked for against the catalogue; `UserError` says what is valid instead.

        *drawn_seed* is used where the model has a seed and none was given, so that the card can show it.
        """
        endpoint = self.endpoint(model, verb)
        name = self.models[model].name
        if not visible(prompt):
            raise UserError("prompt.empty")
        self._check_length(prompt, style)
        if verb is Verb.EDIT and not references:
            raise UserError("references.none")
        if len(references) > endpoint.references:
            raise UserError("references.many", limit=endpoint.references, given=len(references), model=name)
        options = dict(self._options(endpoint, asked, verb=verb, name=name, drawn_seed=drawn_seed))
        if incompatible := endpoint.incompatible_options(options):
            raise UserError("option.together", model=name, choices=[f"{each} {options[each]}" for each in incompatible])
        request = ImageRequest(
            model=model, verb=verb, prompt=prompt, options=options, references=references, style=style
        )
        if not endpoint.routes_for(request):
            raise UserError("prompt.short", limit=endpoint.min_prompt_length(options), model=name)
        return request

    def _check_length(self, prompt: str, style: AppliedStyle | None) -> None:
        limit, taken = self.ceilings.prompt, len(style.around("")) if style else 0
        if len(prompt) + taken <= limit:
            return
        if style is None or not taken:
            raise UserError("prompt.long", limit=limit, given=len(prompt))
        left = max(0, limit - taken)
        raise UserError("prompt.long_with_style", limit=left, given=len(prompt), style=style.name, taken=taken)

    def can_combine(self, model: str, verb: Verb, asked: RequestedOptions) -> bool:
        """Whether *model* has all the options *asked* for, and a provider supports them together."""
        endpoint = self.endpoint(model, verb)
        try:
            options = self._options(endpoint, asked, verb=verb, name=model, drawn_seed=0)
        except UserError:
            return False
        return not endpoint.incompatible_options(options)

    def _options(
        self, endpoint: Endpoint, asked: RequestedOptions, *, verb: Verb, name: str, drawn_seed: int
    ) -> Mapping[str, Wire]:
        chosen: dict[str, Wire] = {}
        for option, spec in endpoint.options:
            given = getattr(asked, option)
            if spec is None:
                if given is not None and given not in self._neutral_values(option, endpoint):
                    raise self._absent_error(option, verb, name=name)
                continue
            value = default_of(option, spec, drawn_seed=drawn_seed) if given is None else given
            _check_choice(option, spec, value, name=name)
            chosen[option] = value
        return self._apply_ceilings(chosen, asked)

    def _neutral_values(self, option: str, endpoint: Endpoint) -> tuple[Wire | None, ...]:
        """Values of an option that the model does not have which are the same as its default.

        An older job may have them, from a catalogue in which the model had the option.
        """
        always_sent = endpoint.always_sent.get(option)
        lowered = (
            min(always_sent, self.ceilings.max_safety)
            if option == "safety" and isinstance(always_sent, int)
            else always_sent
        )
        return NEUTRAL_VALUES.get(option), always_sent, lowered

    def _apply_ceilings(self, chosen: dict[str, Wire], asked: RequestedOptions) -> Mapping[str, Wire]:
        if asked.safety is not None and asked.safety > self.ceilings.max_safety:
            raise UserError("option.ceiling", option="safety", given=asked.safety, limit=self.ceilings.max_safety)
        if asked.web_search and not self.ceilings.web_search:
            raise UserError("option.switched_off", option="web_search")
        if "safety" in chosen:
            chosen["safety"] = min(int(chosen["safety"]), self.ceilings.max_safety)
        if "web_search" in chosen:
            chosen["web_search"] = bool(chosen["web_search"]) and self.ceilings.web_search
        return chosen

    def _absent_error(self, option: str, verb: Verb, *, name: str) -> UserError:
        """The error for an option that the model called *name* does not have; it names the models that have it."""
        endpoints = [(each.name, each.endpoint(verb)) for each in self.models.values()]
        has = sorted({each for each, spec in endpoints if spec and getattr(spec.options, option) is not None})
        return UserError("option.absent", option=option, model=name, has=has)

    def still_offered(self, model: str, verb: Verb, asked: RequestedOptions) -> RequestedOptions:
        """*asked* without the values that *model* or the ceilings no longer allow; unchanged for an unknown model."""
        entry = self.models.get(model)
        endpoint = entry.endpoint(verb) if entry else None
        if endpoint is None:
            return asked
        values = {name: self._value_still_offered(name, spec, getattr(asked, name)) for name, spec in endpoint.options}
        return RequestedOptions(**values)

    def _value_still_offered(self, option: str, spec: Option | None, given: Any) -> Any:
        """*given*, lowered to the ceiling where one applies; None where it is not offered."""
        if spec is None or given is None or (option == "web_search" and not self.ceilings.web_search):
            return None
        if isinstance(spec, Words):
            return given if given in spec.choices else None
        if isinstance(spec, Number):
            lowered = min(given, self.ceilings.max_safety) if option == "safety" else given
            return lowered if spec.min <= lowered <= spec.max else None
        return given

    def edit_model(self, model: str) -> str | None:
        """The model that edits a picture made with *model*: itself, or else the first that can; None if none can."""
        able = self.models_for(Verb.EDIT)
        return model if model in able else next(iter(able), None)

    def larger_resolutions(self, request: ImageRequest) -> tuple[str, ...]:
        """The resolutions in which a picture of *request* can be made again, smallest first."""
        editor = self.models.get(self.edit_model(request.model) or "")
        spec = editor.edit.options.resolution if editor and editor.edit else None
        given = str(request.options.get("resolution", ""))
        if spec is None or not given:
            return ()
        return tuple(sorted((each for each in spec.choices if resolution_size(each) > resolution_size(given)),
                            key=resolution_size))  # fmt: skip

    def reference_limits(self, request: ImageRequest) -> ReferenceLimits:
        """How large each reference picture of *request* may be; the largest limits for an unknown model."""
        model = self.models.get(request.model)
        endpoint = model.endpoint(request.verb) if model else None
        return endpoint.reference_limits if endpoint else ReferenceLimits()

    def routes_for(self, request: ImageRequest) -> tuple[Route, ...]:
        """The routes that support everything *request* asks for, preferred first; none for an unknown model."""
        model = self.models.get(request.model)
        endpoint = model.endpoint(request.verb) if model else None
        return endpoint.routes_for(request) if endpoint else ()

    def route(self, request: ImageRequest, *, provider: str, id: str) -> Route | None:  # noqa: A002 - the field's name
        """The route of the request's model with that provider and id; None where there is none."""
        model = self.models.get(request.model)
        endpoint = model.endpoint(request.verb) if model else None
        routes = endpoint.routes if endpoint else ()
        return next((each for each in routes if (each.provider, each.id) == (provider, id)), None)

    def price(self, request: ImageRequest, route: Route | None = None) -> Price:
        """The price at *route*, or at the preferred route of *request* where none is given."""
        priced = route or next(iter(self.routes_for(request)), None)
        return priced.price if priced and priced.price else self.models[request.model].price

    def quote(self, request: ImageRequest, route: Route | None = None) -> Quote:
        """The price of one picture of *request*, rounded up to a whole micro-dollar; *route* as in `price`."""
        price = self.price(request, route)
        factor = price.resolution.get(str(request.options.get("resolution")), Decimal(1))
        dollars = price.per_image * factor
        if request.options.get("web_search"):
            dollars += price.web_search
        dollars += price.thinking.get(str(request.options.get("thinking")), Decimal(0))
        micro = int((dollars * 1_000_000).to_integral_value(ROUND_UP))
        return Quote(micro_usd=micro, version=self.price_version, estimated=price.estimated)


def resolution_size(resolution: str) -> tuple[float, str]:
    """Sort key: `0.5K` before `1K` before `4K`; values that are not numbers come last, in alphabetical order."""
    try:
        return float(resolution.rstrip("Kk")), resolution
    except ValueError:
        return float("inf"), resolution


def _at(place: tuple[str, ...], problem: str) -> ValidationError:
    """An error at a *place* in the file, found when the whole file is checked."""
    error = PydanticCustomError("value_error", "{error}", {"error": problem})
    return ValidationError.from_exception_data("Catalog", [InitErrorDetails(type=error, loc=place, input=None)])


def _is_value(spec: Option | None, value: Wire) -> bool:
    match spec:
        case Words():
            return value in spec.choices
        case Number():
            return isinstance(value, int) and not isinstance(value, bool) and spec.min <= value <= spec.max
        case Switch():
            return isinstance(value, bool)
    return False


def _check_choice(option: str, spec: Option, value: Wire, *, name: str) -> None:
    if isinstance(spec, Words) and value not in spec.choices:
        raise UserError("option.choice", option=option, given=value, choices=list(spec.choices), model=name)
    if isinstance(spec, Number) and not (isinstance(value, int) and spec.min <= value <= spec.max):
        raise UserError("option.range", option=option, given=value, low=spec.min, high=spec.max, model=name)
