"""Hypothesis strategies of requests, rules and places, for the test of the quota model."""

import hypothesis.strategies as st

from bot.core.jobs import Place
from bot.core.quota import Holder, Unit
from tests.store.model import UNITS

PLACES = [  # server, channel, the one it belongs to, whether the server has the bot
    (5, 51, None, True),
    (5, 52, None, True),
    (5, 59, 51, True),  # a thread
    (6, 61, None, True),
    (None, 91, None, True),  # direct messages
    (7, 71, None, False),  # a user install
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Pacific/Niue", "Pacific/Kiritimati"]
JUMPS = [1, 1, 13, 24, 24 * 6, 24 * 20, -1, -24, -24 * 7]  # hours

places = st.builds(
    lambda where, user, roles: Place(
        user, where[1], where[0], where[2], where[3], (where[0], *roles) if where[0] else ()
    ),
    st.sampled_from(PLACES),
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([(), (701,), (701, 702)]),
)
drafts = st.tuples(places, st.integers(1, 4), st.integers(0, 150))
servers = st.sampled_from([0, 5, 6])
holders = st.sampled_from(
    [
        (5, Holder.USER, 1), (5, Holder.USER, 2), (6, Holder.USER, 1), (0, Holder.USER, 1), (5, Holder.ROLE, 701),
        (5, Holder.ROLE, 702), (5, Holder.ROLE, 5), (5, Holder.CHANNEL, 51), (0, Holder.CHANNEL, 91),
        (5, Holder.GUILD, 0), (6, Holder.GUILD, 0), (0, Holder.DIRECT, 0), (5, Holder.CAP, 0),
        (6, Holder.CAP, 0), (0, Holder.HOST, 0),
    ]
)  # fmt: skip
blocked = st.sampled_from([(5, Holder.USER, 3), (0, Holder.USER, 3), (5, Holder.ROLE, 702), (5, Holder.CHANNEL, 52)])
amounts = {Unit.JOBS: st.integers(0, 4), Unit.IMAGES: st.integers(0, 12), Unit.MICRO_USD: st.integers(0, 1500)}
limits = st.sampled_from(UNITS).flatmap(lambda what: st.tuples(st.just(what), st.none() | amounts[what[0]]))
bonuses = st.tuples(st.just(Unit.IMAGES), st.integers(1, 5)) | st.tuples(st.just(Unit.MICRO_USD), st.integers(1, 500))
lives = st.sampled_from([None, None, 1, 30, 24 * 30])  # hours of a bonus
