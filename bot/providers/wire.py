"""Reads what hosts write: more than we know is ignored, money that makes no sense is no money."""

from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


W = TypeVar("W", bound=Wire)


def parse(model: type[W], body: bytes) -> W | None:
    try:
        return model.model_validate_json(body)
    except ValidationError:
        return None


def _sum(value: object, *, most: int, least: int = 0) -> Decimal | None:
    """A sum of money however it is written; None rather than a failure where it makes no sense."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and least <= amount < most else None


Dollars = Annotated[Decimal | None, BeforeValidator(partial(_sum, most=1_000_000))]
Wealth = Annotated[Decimal | None, BeforeValidator(partial(_sum, most=10**12, least=-(10**12)))]  # cents, too


def micro_usd(dollars: Decimal | None, *, rounding: str) -> int | None:
    return None if dollars is None else int((dollars * 1_000_000).to_integral_value(rounding))
