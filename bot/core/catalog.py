"""Which models there are, what each can be asked for, at what price: `config/models.toml`, validated.

Members pick a *model*; a *route* is that model's address at one provider. Adding a model of a
known provider is an entry in the file and no code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bot.core.errors import UserError
from bot.core.jobs import ImageRequest, Reference, Verb
from bot.core.polling import Timing

Wire = str | int | bool
DAY = 86_400.0  # seconds
NEUTRAL: Mapping[str, Wire] = {"count": 1, "web_search": False}  # asking for these asks for nothing


Word = Annotated[str, Field(min_length=1, max_length=100)]
Dollars = Annotated[Decimal, Field(ge=0, le=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Part):
    """An option that takes one of some words."""

    choices: Annotated[tuple[Word, ...], Field(min_length=1, max_length=25)]  # Discord shows 25 choices
    default: str

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("a choice stands there twice")
        if self.default not in self.choices:
            raise ValueError(f"default {self.default!r} is not among the choices")
        return self


class Number(_Part):
    """An option that takes a whole number from *min* to *max*; a seed has no default, it is drawn."""

    min: Annotated[int, Field(ge=0)] = 1
    max: int
    default: int | None = None

    @model_validator(mode="after")
    def _default_is_inside(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.default is not None and not self.min <= self.default <= self.max:
            raise ValueError(f"default {self.default} is not between {self.min} and {self.max}")
        return self


class Switch(_Part):
    default: bool = False


class Options(_Part):
    """What a model can be asked for; an option that is absent is one the model does not have."""

    aspect_ratio: Words | None = None
    resolution: Words | None = None
    format: Words | None = None
    count: Number | None = None
    seed: Number | None = None
    safety: Number | None = None
    web_search: Switch | None = None
    thinking: Words | None = None


class Price(_Part):
    """Dollars for one picture. *estimated*: the host publishes none for this model."""

    per_image: Dollars
    resolution: Mapping[str, Dollars] = Field(default_factory=dict)  # factors
    web_search: Dollars = Decimal(0)  # added per picture
    thinking: Mapping[str, Dollars] = Field(default_factory=dict)  # added per picture, by how much of it
    estimated: bool = False


class Route(_Part):
    """A model's address at one provider, our option names in that host's words, and what is always sent."""

    provider: Word
    id: Word
    fields: Mapping[str, Word]
    fixed: Mapping[str, Wire] = Field(default_factory=dict)
    strings: frozenset[Word] = frozenset()  # numbers that this host wants as text

    @model_validator(mode="after")
    def _one_meaning_a_field(self) -> Self:
        words = [*self.fields.values(), *self.fixed]
        if twice := {each for each in words if words.count(each) > 1}:
            raise ValueError(f"used for two things: {', '.join(sorted(twice))}")
        return self


class Endpoint(_Part):
    """What one model does for one verb."""

    options: Options = Options()
    references: Annotated[int, Field(ge=0, le=20)] = 0  # the most pictures it takes
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _every_option_has_a_word(self) -> Self:
        needed = {"prompt"} | ({"references"} if self.references else set())
        needed |= {name for name, option in self.options if option is not None}
        for route in self.routes:
            if missing := needed - set(route.fields):
                raise ValueError(f"route {route.id}: no field for {', '.join(sorted(missing))}")
            if unknown := (set(route.fields) | route.strings) - needed:
                raise ValueError(f"route {route.id}: no such option: {', '.join(sorted(unknown))}")
        if self.options.count is not None and self.options.count.min < 1:
            raise ValueError("count begins at 1")
        return self


class Model(_Part):
    name: Annotated[str, Field(min_length=1, max_length=60)]
    about: str = ""
    price: Price
    timing: Timing = Timing()
    usual: Mapping[str, tuple[int, int]] = Field(default_factory=dict)  # seconds by resolution, from and to
    imagine: Endpoint | None = None
    edit: Endpoint | None = None

    @model_validator(mode="before")
    @classmethod
    def _share_options(cls, raw: Any) -> Any:
        """Options written once for the model hold for both verbs; a verb may change them one by one."""
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
        if self.imagine is None and self.edit is None:
            raise ValueError("a model needs imagine, edit or both")
        if self.edit is not None and self.edit.references < 1:
            raise ValueError("edit needs references of at least 1")
        if wrong := [name for name, (low, high) in self.usual.items() if not 0 < low <= high]:
            raise ValueError(f"usual {wrong[0]}: from and to, in seconds")
        times = (self.timing.first, self.timing.step, self.timing.longest, self.timing.rare)
        if not all(0 < each <= DAY for each in times):
            raise ValueError("timing: first, step, longest and rare are seconds above 0")
        if not 0 < self.timing.soft <= self.timing.hard <= self.timing.give_up <= DAY:
            raise ValueError("timing: soft comes before hard, and hard before give_up")
        return self

    def endpoint(self, verb: Verb) -> Endpoint | None:
        return self.imagine if verb is Verb.IMAGINE else self.edit


class Ceilings(_Part):
    """How far members may go whatever a model could do."""

    max_safety: Annotated[int, Field(ge=1)] = 4
    web_search: bool = False
    prompt: Annotated[int, Field(ge=1, le=4000)] = 4000  # Discord's forms take no more


@dataclass(frozen=True, slots=True)
class Asked:
    """Options as a member gave them; None is *not given*."""

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


class Catalog(_Part):
    price_version: Annotated[str, Field(min_length=1, max_length=40)]
    default: str
    ceilings: Ceilings = Ceilings()
    models: Annotated[Mapping[Word, Model], Field(min_length=1, max_length=25)]

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default not in self.models:
            raise ValueError(f"default {self.default!r} is not among the models")
        return self

    def models_for(self, verb: Verb) -> Mapping[str, Model]:
        return {key: model for key, model in self.models.items() if model.endpoint(verb) is not None}

    def endpoint(self, model: str, verb: Verb) -> Endpoint:
        """What *model* does for *verb*; `UserError` where it does nothing."""
        known = self.models.get(model)
        found = known.endpoint(verb) if known else None
        if known is None or found is None:
            names = [each.name for each in self.models_for(verb).values()]
            raise UserError("option.model", given=model, choices=names)
        return found

    def request(
        self,
        model: str,
        verb: Verb,
        *,
        prompt: str,
        asked: Asked,
        references: tuple[Reference, ...] = (),
        drawn_seed: int,
    ) -> ImageRequest:
        """Check everything asked for; `UserError` says what would work instead.

        *drawn_seed* is sent where the model has a seed and none was asked for, so that it can be shown.
        """
        endpoint = self.endpoint(model, verb)
        name = self.models[model].name
        if not prompt.strip():
            raise UserError("prompt.empty")
        if len(prompt) > self.ceilings.prompt:
            raise UserError("prompt.long", limit=self.ceilings.prompt, given=len(prompt))
        if verb is Verb.EDIT and not references:
            raise UserError("references.none")
        if len(references) > endpoint.references:
            raise UserError("references.many", limit=endpoint.references, given=len(references), model=name)
        options = dict(self._options(endpoint.options, asked, name=name, drawn_seed=drawn_seed))
        return ImageRequest(model=model, verb=verb, prompt=prompt.strip(), options=options, references=references)

    def _options(self, has: Options, asked: Asked, *, name: str, drawn_seed: int) -> Mapping[str, Wire]:
        chosen: dict[str, Wire] = {}
        for option, spec in has:
            given = getattr(asked, option)
            if spec is None:
                if given is not None and given != NEUTRAL.get(option):
                    raise UserError("option.absent", option=option, model=name, has=self._having(option))
                continue
            value = _default(option, spec, drawn_seed=drawn_seed) if given is None else given
            _allowed(option, spec, value, name=name)
            chosen[option] = value
        return self._under_ceilings(chosen, asked)

    def _under_ceilings(self, chosen: dict[str, Wire], asked: Asked) -> Mapping[str, Wire]:
        if asked.safety is not None and asked.safety > self.ceilings.max_safety:
            raise UserError("option.ceiling", option="safety", given=asked.safety, limit=self.ceilings.max_safety)
        if asked.web_search and not self.ceilings.web_search:
            raise UserError("option.switched_off", option="web_search")
        if "safety" in chosen:
            chosen["safety"] = min(int(chosen["safety"]), self.ceilings.max_safety)
        if "web_search" in chosen:
            chosen["web_search"] = bool(chosen["web_search"]) and self.ceilings.web_search
        return chosen

    def _having(self, option: str) -> list[str]:
        """Names of the models that do have *option*, so that a refusal can say what would work."""
        endpoints = [(each.name, each.endpoint(verb)) for each in self.models.values() for verb in Verb]
        return sorted({name for name, found in endpoints if found and getattr(found.options, option) is not None})

    def quote(self, request: ImageRequest) -> Quote:
        """The price of one picture of *request*, rounded up to a whole micro-dollar."""
        price = self.models[request.model].price
        factor = price.resolution.get(str(request.options.get("resolution")), Decimal(1))
        dollars = price.per_image * factor
        if request.options.get("web_search"):
            dollars += price.web_search
        dollars += price.thinking.get(str(request.options.get("thinking")), Decimal(0))
        micro = int((dollars * 1_000_000).to_integral_value(ROUND_UP))
        return Quote(micro_usd=micro, version=self.price_version, estimated=price.estimated)

    def patience(self, request: ImageRequest) -> float:
        """Seconds for which a finished picture that is not there is asked for: a few looks at a run of this model."""
        model = self.models.get(request.model)
        return 8 * (model.timing if model else Timing()).longest

    def usual(self, request: ImageRequest) -> tuple[int, int] | None:
        """How long such a request usually takes, in seconds from and to."""
        return self.models[request.model].usual.get(str(request.options.get("resolution", "1K")))


def wire_inputs(route: Route, request: ImageRequest) -> dict[str, Any]:
    """*request* in the words of the host behind *route*."""
    body: dict[str, Any] = dict(route.fixed)
    body[route.fields["prompt"]] = request.prompt
    if request.references:
        body[route.fields["references"]] = [each.url for each in request.references]
    for option, value in request.options.items():
        body[route.fields[option]] = str(value) if option in route.strings else value
    return body


def _default(option: str, spec: Words | Number | Switch, *, drawn_seed: int) -> Wire:
    if option == "seed" and isinstance(spec, Number):
        return spec.min + drawn_seed % (spec.max - spec.min + 1)
    if spec.default is None:
        return spec.min if isinstance(spec, Number) else False
    return spec.default


def _allowed(option: str, spec: Words | Number | Switch, value: Wire, *, name: str) -> None:
    if isinstance(spec, Words) and value not in spec.choices:
        raise UserError("option.choice", option=option, given=value, choices=list(spec.choices), model=name)
    if isinstance(spec, Number) and not (isinstance(value, int) and spec.min <= value <= spec.max):
        raise UserError("option.range", option=option, given=value, low=spec.min, high=spec.max, model=name)
