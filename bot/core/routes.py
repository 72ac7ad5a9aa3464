"""What one model can be asked for at each host that has it, in which words, and for how much.

A *route* is a model's address at one provider. Hosts of the same model differ: what one of them does not make is
asked of the others only.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from bot.core.jobs import ImageRequest
from bot.core.references import MOST_BYTES, MOST_PIXELS, ReferenceLimits
from bot.core.visible import has_visible

Wire = str | int | bool


Word = Annotated[str, Field(min_length=1, max_length=100)]
Dollars = Annotated[Decimal, Field(ge=0, le=1000)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(Part):
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


class Number(Part):
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


class Switch(Part):
    default: bool = False


Option: TypeAlias = Words | Number | Switch


class Options(Part):
    """What a model can be asked for; an option that is absent is one the model does not have."""

    aspect_ratio: Words | None = None
    resolution: Words | None = None
    format: Words | None = None
    count: Number | None = None
    seed: Number | None = None
    safety: Number | None = None
    web_search: Switch | None = None
    thinking: Words | None = None


class Price(Part):
    """Dollars for one picture. *estimated*: the host publishes none for this model."""

    per_image: Dollars
    resolution: Mapping[str, Dollars] = Field(default_factory=dict)  # factors
    web_search: Dollars = Decimal(0)  # added per picture
    thinking: Mapping[str, Dollars] = Field(default_factory=dict)  # added per picture, by how much of it
    estimated: bool = False


class Route(Part):
    """A model's address at one provider, our option names in that host's words, and what is always sent."""

    provider: Word
    id: Word
    fields: Mapping[str, Word]
    fixed: Mapping[str, Wire] = Field(default_factory=dict)
    strings: frozenset[Word] = frozenset()  # numbers that this host wants as text
    omit: Mapping[Word, Wire] = Field(default_factory=dict)  # choices that are made by sending nothing
    without: frozenset[Word] = frozenset()  # options this host does not have: it makes their defaults
    lacks: Mapping[Word, frozenset[Word]] = Field(default_factory=dict)  # choices this host does not have
    price: Price | None = None  # where this host's is not the model's
    min_prompt: Annotated[int, Field(ge=1, le=100)] = 1  # characters that can be seen; this host takes no fewer

    def supports(self, name: str, value: Wire, *, default: Wire | None) -> bool:
        """Whether this host can be asked for *value* of an option."""
        return value not in self.lacks.get(name, ()) if name in self.fields else value == default

    @model_validator(mode="after")
    def _one_meaning_a_field(self) -> Self:
        words = [*self.fields.values(), *self.fixed]
        if twice := {each for each in words if words.count(each) > 1}:
            raise ValueError(f"used for two things: {', '.join(sorted(twice))}")
        return self


class Endpoint(Part):
    """What one model does for one verb."""

    options: Options = Options()
    references: Annotated[int, Field(ge=0, le=20)] = 0  # the most pictures it takes
    reference_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = MOST_PIXELS  # of each: width times height
    reference_bytes: Annotated[int, Field(ge=1, le=MOST_BYTES)] = MOST_BYTES  # of each
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    _always_sent: Mapping[str, Wire | None] = PrivateAttr(default_factory=dict)

    @property
    def reference_limits(self) -> ReferenceLimits:
        return ReferenceLimits(pixels=self.reference_pixels, size=self.reference_bytes)

    @property
    def always_sent(self) -> Mapping[str, Wire | None]:
        """What is made of the options that `at` took away: their defaults."""
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
            raise ValueError("count begins at 1")
        return self

    def _check_lacks(self, route: Route) -> None:
        if both := route.without & set(route.fields):
            raise ValueError(f"route {route.id}: {', '.join(sorted(both))} has a field, and is not there")
        if "seed" in route.without or {"prompt", "references"} & route.without:
            raise ValueError(
                f"route {route.id}: every job has a prompt, its pictures and, where the model has it, a seed"
            )
        for name, choices in route.lacks.items():
            spec = getattr(self.options, name, None)
            if not isinstance(spec, Words) or not choices <= set(spec.choices) - {spec.default}:
                raise ValueError(f"route {route.id}: lacks names choices of {name}, and never the default")
        for name, value in route.omit.items():
            spec = getattr(self.options, name, None)
            if isinstance(spec, Words) and value not in spec.choices:
                raise ValueError(f"route {route.id}: omit names a choice of {name}")

    def routes_for(self, request: ImageRequest) -> tuple[Route, ...]:
        """The routes that can be asked for all that *request* asks for, preferred first."""
        able = [each for each in self.routes if not self._refused(each, request.options)]
        return tuple(each for each in able if has_visible(request.prompt, least=each.min_prompt))

    def shortest(self, options: Mapping[str, Wire]) -> int:
        """How many characters a prompt needs for any route that can be asked for *options*."""
        return min((each.min_prompt for each in self.routes if not self._refused(each, options)), default=1)

    def _refused(self, route: Route, options: Mapping[str, Wire]) -> list[str]:
        return [name for name, value in options.items() if not route.supports(name, value, default=self._default(name))]

    def clash(self, options: Mapping[str, Wire]) -> list[str]:
        """Names among *options* that no route makes together, few enough to be told; none where there is a taker."""
        named: list[str] = []
        for route in self.routes:
            refused = self._refused(route, options)
            if not refused:
                return []
            if not set(named) & set(refused):
                named.append(refused[0])
        return named

    def _default(self, name: str) -> Wire | None:
        spec: Option | None = getattr(self.options, name, None)
        return default_of(name, spec, drawn_seed=0) if spec is not None else self._always_sent.get(name)

    def at(self, routes: Sequence[Route]) -> Self | None:
        """What is left with only these *routes*: options and choices that none of them has are not there."""
        if not routes:
            return None
        left = {name: self._left(name, spec, routes) for name, spec in self.options if spec is not None}
        taken = {name: self._default(name) for name, spec in left.items() if spec is None}
        fewer = self.model_copy(update={"options": self.options.model_copy(update=left), "routes": tuple(routes)})
        fewer._always_sent = {**self._always_sent, **taken}  # noqa: SLF001 - a copy of our own kind
        return fewer

    def _left(self, name: str, spec: Option, routes: Sequence[Route]) -> Option | None:
        if all(name in each.without for each in routes):
            return None
        if not isinstance(spec, Words):
            return spec
        made = [
            word for word in spec.choices if any(each.supports(name, word, default=spec.default) for each in routes)
        ]
        return spec.model_copy(update={"choices": tuple(made)})


def wire_inputs(route: Route, request: ImageRequest) -> dict[str, Any]:
    """*request* in the words of the host behind *route*."""
    body: dict[str, Any] = dict(route.fixed)
    body[route.fields["prompt"]] = request.prompt
    if request.references:
        body[route.fields["references"]] = [each.url for each in request.references]
    for option, value in request.options.items():
        if option not in route.without and route.omit.get(option) != value:
            body[route.fields[option]] = str(value) if option in route.strings else value
    return body


def default_of(option: str, spec: Option, *, drawn_seed: int) -> Wire:
    if option == "seed" and isinstance(spec, Number):
        return spec.min + drawn_seed % (spec.max - spec.min + 1)
    if spec.default is None:
        return spec.min if isinstance(spec, Number) else False
    return spec.default
