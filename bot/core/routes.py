"""The options, prices and routes of one model, and its requests in a provider's field names.

A *route* is a model's address at one provider. Providers of the same model differ: a request goes only to routes that
support all its options.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from bot.core.jobs import ImageRequest
from bot.core.references import MAX_BYTES, MAX_PIXELS, ReferenceLimits
from bot.core.visible import has_visible

Wire = str | int | bool


Word = Annotated[str, Field(min_length=1, max_length=100)]
Dollars = Annotated[Decimal, Field(ge=0, le=1000)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(Part):
    """An option with a fixed set of values."""

    choices: Annotated[tuple[Word, ...], Field(min_length=1, max_length=25)]  # Discord shows 25 choices
    default: str

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("a choice is listed twice")
        if self.default not in self.choices:
            raise ValueError(f"default {self.default!r} is not among the choices")
        return self


class Number(Part):
    """An option that is an integer from *min* to *max*; a seed has no default, it is random."""

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


class Switch(Part):
    default: bool = False


Option: TypeAlias = Words | Number | Switch


class Options(Part):
    """The options of a model; None is an option that the model does not have."""

    aspect_ratio: Words | None = None
    resolution: Words | None = None
    format: Words | None = None
    count: Number | None = None
    seed: Number | None = None
    safety: Number | None = None
    web_search: Switch | None = None
    thinking: Words | None = None


class Price(Part):
    """Dollars for one picture. *estimated*: the provider publishes no price for this model."""

    per_image: Dollars
    resolution: Mapping[str, Dollars] = Field(default_factory=dict)  # factors, by choice
    web_search: Dollars = Decimal(0)  # added per picture
    thinking: Mapping[str, Dollars] = Field(default_factory=dict)  # added per picture, by choice
    estimated: bool = False


class Route(Part):
    """A model's address at one provider, with the provider's names of our options.

    *fields* maps our option names to the provider's fields; *fixed* is sent with every request.
    """

    provider: Word
    id: Word
    fields: Mapping[str, Word]
    fixed: Mapping[str, Wire] = Field(default_factory=dict)
    strings: frozenset[Word] = frozenset()  # numeric options that this provider expects as strings
    omit: Mapping[Word, Wire] = Field(default_factory=dict)  # values for which the field is left out
    without: frozenset[Word] = frozenset()  # options that this provider does not have: it uses their defaults
    lacks: Mapping[Word, frozenset[Word]] = Field(default_factory=dict)  # choices that this provider does not have
    price: Price | None = None  # where it differs from the model's
    min_prompt: Annotated[int, Field(ge=1, le=100)] = 1  # visible characters

    def supports(self, name: str, value: Wire, *, default: Wire | None) -> bool:
        """Whether *value* of option *name* can be requested on this route; *default* is the option's default."""
        return value not in self.lacks.get(name, ()) if name in self.fields else value == default

    @model_validator(mode="after")
    def _one_meaning_a_field(self) -> Self:
        words = [*self.fields.values(), *self.fixed]
        if twice := {each for each in words if words.count(each) > 1}:
            raise ValueError(f"used for two options: {', '.join(sorted(twice))}")
        return self


class Endpoint(Part):
    """The options, limits and routes of one model for one verb."""

    options: Options = Options()
    references: Annotated[int, Field(ge=0, le=20)] = 0  # the largest number of reference pictures
    reference_pixels: Annotated[int, Field(ge=1, le=MAX_PIXELS)] = MAX_PIXELS  # of each: width times height
    reference_bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)] = MAX_BYTES  # of each
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    _always_sent: Mapping[str, Wire | None] = PrivateAttr(default_factory=dict)

    @property
    def reference_limits(self) -> ReferenceLimits:
        return ReferenceLimits(pixels=self.reference_pixels, size=self.reference_bytes)

    @property
    def always_sent(self) -> Mapping[str, Wire | None]:
        """The defaults of the options that `with_routes` has removed: the providers use these values."""
        return self._always_sent

    @model_validator(mode="after")
    def _every_option_has_a_word(self) -> Self:
        needed = {"prompt"} | ({"references"} if self.references else set())
        needed |= {name for name, option in self.options if option is not None}
        for route in self.routes:
            if missing := needed - route.without - set(route.fields):
                raise ValueError(f"route {route.id}: no field for {', '.join(sorted(missing))}")
            named = set(route.fields) | route.strings | route.without | set(route.omit) | set(route.lacks)
            if unknown := named - needed:
                raise ValueError(f"route {route.id}: no such option: {', '.join(sorted(unknown))}")
            self._check_lacks(route)
        if self.options.count is not None and self.options.count.min < 1:
            raise ValueError("count: min must be at least 1")
        return self

    def _check_lacks(self, route: Route) -> None:
        if both := route.without & set(route.fields):
            raise ValueError(f"route {route.id}: {', '.join(sorted(both))} is in both fields and without")
        if "seed" in route.without or {"prompt", "references"} & route.without:
            raise ValueError(f"route {route.id}: without cannot name prompt, references or seed")
        for name, choices in route.lacks.items():
            spec = getattr(self.options, name, None)
            if not isinstance(spec, Words) or not choices <= set(spec.choices) - {spec.default}:
                raise ValueError(f"route {route.id}: lacks must name choices of {name} other than the default")
        for name, value in route.omit.items():
            spec = getattr(self.options, name, None)
            if isinstance(spec, Words) and value not in spec.choices:
                raise ValueError(f"route {route.id}: omit must name a choice of {name}")

    def routes_for(self, request: ImageRequest) -> tuple[Route, ...]:
        """The routes that support everything *request* asks for, preferred first."""
        supporting = [each for each in self.routes if not self._unsupported(each, request.options)]
        return tuple(each for each in supporting if has_visible(request.sent_prompt, min_chars=each.min_prompt))

    def min_prompt_length(self, options: Mapping[str, Wire]) -> int:
        """The fewest visible characters that a prompt with *options* needs on any route."""
        return min((each.min_prompt for each in self.routes if not self._unsupported(each, options)), default=1)

    def _unsupported(self, route: Route, options: Mapping[str, Wire]) -> list[str]:
        return [name for name, value in options.items() if not route.supports(name, value, default=self._default(name))]

    def incompatible_options(self, options: Mapping[str, Wire]) -> list[str]:
        """Names of *options* that no route supports together, a few at most; empty where a route supports all."""
        named: list[str] = []
        for route in self.routes:
            unsupported = self._unsupported(route, options)
            if not unsupported:
                return []
            if not set(named) & set(unsupported):
                named.append(unsupported[0])
        return named

    def _default(self, name: str) -> Wire | None:
        spec: Option | None = getattr(self.options, name, None)
        return default_of(name, spec, drawn_seed=0) if spec is not None else self._always_sent.get(name)

    def with_routes(self, routes: Sequence[Route]) -> Self | None:
        """The endpoint with only these *routes*, without options and choices that none of them supports.

        None where *routes* is empty.
        """
        if not routes:
            return None
        specs = {name: self._supported(name, spec, routes) for name, spec in self.options if spec is not None}
        removed = {name: self._default(name) for name, spec in specs.items() if spec is None}
        restricted = self.model_copy(update={"options": self.options.model_copy(update=specs), "routes": tuple(routes)})
        restricted._always_sent = {**self._always_sent, **removed}  # noqa: SLF001 - a copy of the same class
        return restricted

    def _supported(self, name: str, spec: Option, routes: Sequence[Route]) -> Option | None:
        """*spec* with the choices that one of *routes* supports; None where none has the option."""
        if all(name in each.without for each in routes):
            return None
        if not isinstance(spec, Words):
            return spec
        choices = [
            word for word in spec.choices if any(each.supports(name, word, default=spec.default) for each in routes)
        ]
        return spec.model_copy(update={"choices": tuple(choices)})


def wire_inputs(route: Route, request: ImageRequest) -> dict[str, Any]:
    """The JSON inputs of *request* for the provider of *route*, with its field names."""
    body: dict[str, Any] = dict(route.fixed)
    body[route.fields["prompt"]] = request.sent_prompt
    if request.references:
        body[route.fields["references"]] = [each.sent_url for each in request.references]
    for option, value in request.options.items():
        if option not in route.without and route.omit.get(option) != value:
            body[route.fields[option]] = str(value) if option in route.strings else value
    return body


def default_of(option: str, spec: Option, *, drawn_seed: int) -> Wire:
    """The default of an option; of a seed, *drawn_seed* mapped into its range."""
    if option == "seed" and isinstance(spec, Number):
        return spec.min + drawn_seed % (spec.max - spec.min + 1)
    if spec.default is None:
        return spec.min if isinstance(spec, Number) else False
    return spec.default
