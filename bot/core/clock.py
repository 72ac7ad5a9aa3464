"""The type of the injected clock."""

from collections.abc import Callable

Clock = Callable[[], int]  # UTC milliseconds
