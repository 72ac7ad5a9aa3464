"""The type of the clock that everything is given, so that tests can set the time."""

from collections.abc import Callable

Clock = Callable[[], int]  # UTC milliseconds
