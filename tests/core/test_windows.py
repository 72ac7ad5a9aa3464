"""Hours, days, weeks and months in all timezones, especially around changes of their clocks."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bot.core.errors import UserError
from bot.core.server_settings import ServerSettings
from bot.core.windows import Calendar, Window, ends_at, moment, moment_on_day
from bot.core.zones import check_zone, names, zone_of

MINUTE = 60_000
QUARTER = 15 * MINUTE
HOUR = 60 * MINUTE
ENDING = [each for each in Window if each is not Window.TOTAL]


def ms(text: str, zone: tzinfo = UTC) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp() * 1000)


FROM, TO = ms("2026-01-01"), ms("2028-01-01")


def bucket(window: Window, now: int, zone: tzinfo) -> str:
    return moment(now, zone).buckets[window]


def leaps(zone: tzinfo, start: int = FROM, end: int = TO) -> list[int]:
    """When the UTC offset of *zone* changes, in UTC milliseconds."""

    def offset(at: int) -> timedelta | None:
        return datetime.fromtimestamp(at / 1000, zone).utcoffset()

    found = []
    days = range(start, end, 24 * HOUR)
    for one, other in pairwise(days):
        if offset(one) != offset(other):
            found += [at for at in range(one, other, QUARTER) if offset(at) != offset(at - QUARTER)]
    return found


def check_window(window: Window, now: int, zone: tzinfo) -> None:
    """Assert that the window of *now* ends exactly at its end."""
    end = ends_at(window, now, zone)
    assert end is not None
    assert now < end
    assert bucket(window, end - 1, zone) == bucket(window, now, zone)
    assert bucket(window, end, zone) != bucket(window, now, zone)


# --- every timezone there is


@pytest.mark.parametrize("window", ENDING)
def test_a_window_ends_where_the_next_one_starts_in_every_timezone(window: Window) -> None:
    moments = [ms("2026-11-21T05:12:34.567"), ms("2026-12-31T23:59:59.999"), ms("2028-02-28T12:00"), ms("2027-03-01")]
    for name in names():
        for now in moments:
            check_window(window, now, ZoneInfo(name))


def test_every_window_ends_correctly_around_every_change_of_every_clock() -> None:
    shared: dict[tuple[int, str], str] = {}  # many places put their clocks at the same moment
    for name in names():
        zone = ZoneInfo(name)
        for leap in leaps(zone, ms("2026-10-01"), ms("2027-05-01")):
            before = datetime.fromtimestamp((leap - 1) / 1000, zone)
            shared.setdefault((leap, before.isoformat()), name)
    assert len(shared) > 20
    for (leap, _), name in shared.items():
        for now in range(leap - 3 * HOUR, leap + 3 * HOUR, 7 * MINUTE):
            for window in ENDING:
                check_window(window, now, ZoneInfo(name))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(FROM, TO), st.sampled_from(names()), st.sampled_from(ENDING))
def test_any_moment_anywhere_is_in_a_window_that_ends(now: int, name: str, window: Window) -> None:
    check_window(window, now, ZoneInfo(name))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(FROM, TO), st.integers(1, 40 * 24 * HOUR), st.sampled_from(names()))
def test_windows_never_come_back(now: int, later: int, name: str) -> None:
    """A window that has ended does not start again."""
    zone = ZoneInfo(name)
    for window in ENDING:
        end = ends_at(window, now, zone)
        assert end is not None
        assert (bucket(window, now + later, zone) == bucket(window, now, zone)) is (now + later < end)


def test_the_total_never_ends() -> None:
    assert ends_at(Window.TOTAL, FROM) is None
    assert bucket(Window.TOTAL, FROM, UTC) == bucket(Window.TOTAL, TO, UTC)


# --- what clocks do


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-21", 24)])
def test_a_day_has_as_many_hours_as_the_local_clock_gives_it(day: str, hours: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    begins = ms(day, berlin)
    assert ends_at(Window.DAY, begins, berlin) == begins + hours * HOUR


@pytest.mark.parametrize("name", ["Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Chatham"])
def test_an_hour_is_a_utc_hour_in_every_timezone(name: str) -> None:
    for at in (ms("2026-11-21T05:10"), ms("2026-10-25T00:30"), ms("2026-09-26T14:00"), ms("2027-04-03T15:00") - 1):
        assert bucket(Window.HOUR, at, ZoneInfo(name)) == bucket(Window.HOUR, at, UTC)
        assert ends_at(Window.HOUR, at, ZoneInfo(name)) == at - at % HOUR + HOUR


@pytest.mark.parametrize(
    ("name", "day"),  # of a year that is over: governments change what is to come
    [("Africa/Cairo", "2025-04-25"), ("Asia/Beirut", "2025-03-30"), ("America/Havana", "2025-03-09")],
)
def test_a_day_whose_midnight_is_skipped_starts_with_the_change(name: str, day: str) -> None:
    zone = ZoneInfo(name)
    (leap,) = leaps(zone, ms(day) - 48 * HOUR, ms(day) + 48 * HOUR)
    assert f"{datetime.fromtimestamp(leap / 1000, zone):%Y-%m-%d %H:%M}" == f"{day} 01:00"
    assert ends_at(Window.DAY, leap - 1, zone) == leap
    assert bucket(Window.DAY, leap, zone) == f"day:{day}"
    check_window(Window.DAY, leap, zone)


@pytest.mark.parametrize("name", ["Africa/Cairo", "Asia/Beirut", "America/Havana"])
def test_a_midnight_that_occurs_twice_makes_one_long_day(name: str) -> None:
    zone = ZoneInfo(name)
    (back,) = leaps(zone, ms("2025-08-01"), ms("2025-12-01"))
    day = bucket(Window.DAY, back - 1, zone)
    assert bucket(Window.DAY, back, zone) == day
    end = ends_at(Window.DAY, back - 1, zone)
    assert end == ends_at(Window.DAY, back, zone)
    assert {bucket(Window.DAY, at, zone) for at in range(back - HOUR, back + HOUR, QUARTER) if at < (end or 0)} == {day}


def test_nothing_counts_in_the_day_that_samoa_skipped() -> None:
    apia = ZoneInfo("Pacific/Apia")
    last = ms("2011-12-29T23:59:59", apia)
    assert bucket(Window.DAY, last, apia) == "day:2011-12-29"
    assert ends_at(Window.DAY, last, apia) == last + 1000
    assert bucket(Window.DAY, last + 1000, apia) == "day:2011-12-31"
    for window in (Window.DAY, Window.WEEK, Window.MONTH):
        check_window(window, last, apia)


# --- weeks and months


@pytest.mark.parametrize(
    ("day", "monday"),
    [
        ("2026-11-21", "2026-11-16"),
        ("2026-11-22", "2026-11-16"),
        ("2026-11-23", "2026-11-23"),
        ("2027-01-01", "2026-12-28"),
    ],
)
def test_a_week_is_named_by_its_monday(day: str, monday: str) -> None:
    assert bucket(Window.WEEK, ms(day), UTC) == f"week:{monday}"


@pytest.mark.parametrize(
    ("day", "end"),
    [
        ("2026-02-28", "2026-03-01"),
        ("2028-02-28", "2028-03-01"),
        ("2026-01-31", "2026-02-01"),
        ("2026-12-31", "2027-01-01"),
        ("2026-12-01", "2027-01-01"),
    ],
)
def test_a_month_ends_where_the_next_one_begins(day: str, end: str) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    assert ends_at(Window.MONTH, ms(day, tokyo), tokyo) == ms(end, tokyo)


def test_the_same_moment_counts_in_different_days_and_months() -> None:
    at = ms("2026-12-31T23:30")
    assert bucket(Window.DAY, at, ZoneInfo("Asia/Tokyo")) == "day:2027-01-01"
    assert bucket(Window.MONTH, at, ZoneInfo("Asia/Tokyo")) == "month:2027-01"
    assert bucket(Window.DAY, at, ZoneInfo("America/New_York")) == "day:2026-12-31"


def test_buckets_are_always_named_in_the_same_order() -> None:
    assert list(moment(FROM).buckets) == [Window.TOTAL, Window.MONTH, Window.WEEK, Window.DAY, Window.HOUR]


def test_the_stored_day_and_time_give_all_buckets() -> None:
    at = ms("2026-11-22T20:12")  # Monday the 23rd in Kolkata
    found = moment(at, ZoneInfo("Asia/Kolkata"))
    assert (found.day, found.week, found.hour) == ("2026-11-23", "2026-11-23", "2026-11-22T20+0000")
    assert moment_on_day(date.fromisoformat(found.day), at) == found


# --- a server that changes its timezone

moves = st.lists(st.tuples(st.integers(0, 40 * HOUR), st.sampled_from(names())), min_size=1, max_size=8)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.integers(FROM, TO), st.sampled_from(names()), moves)
def test_no_change_of_timezone_starts_or_ends_a_window(now: int, name: str, moves: list[tuple[int, str]]) -> None:
    """Days are consecutive, and each is the current day somewhere on earth."""
    calendar, days = Calendar(ZoneInfo(name)), [moment(now, ZoneInfo(name)).day]
    for later, to in moves:
        for at in (now + later // 2, now + later):
            days.append(calendar.moment(at).day)
            assert moment(at, WESTERNMOST).day <= days[-1] <= moment(at, EASTERNMOST).day
        now += later
        before, calendar = calendar, calendar.with_timezone(ZoneInfo(to), now=now)
        assert calendar.moment(now) == before.moment(now)
        for window in ENDING:
            end = calendar.ends_at(window, now)
            assert end is not None
            assert calendar.moment(end - 1).buckets[window] == calendar.moment(now).buckets[window]
            assert calendar.moment(end).buckets[window] != calendar.moment(now).buckets[window]
    assert days == sorted(days)


WESTERNMOST, EASTERNMOST = timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))


def test_the_day_ends_as_before_where_the_new_timezone_is_ahead_and_with_its_day_where_it_is_behind() -> None:
    berlin, tokyo, honolulu = (ZoneInfo(each) for each in ("Europe/Berlin", "Asia/Tokyo", "Pacific/Honolulu"))
    evening = ms("2026-11-30T20:00", berlin)  # four o'clock in the morning of December in Tokyo
    east = Calendar(berlin).with_timezone(tokyo, now=evening)
    assert {east.ends_at(each, evening) for each in (Window.DAY, Window.MONTH)} == {ms("2026-12-01", berlin)}
    assert east.ends_at(Window.WEEK, evening) == ms("2026-12-07", tokyo)
    assert east.ends_at(Window.DAY, ms("2026-12-01", berlin)) == ms("2026-12-02", tokyo)

    morning = ms("2026-12-01T09:00", berlin)  # still November in Honolulu
    west = Calendar(berlin).with_timezone(honolulu, now=morning)
    assert west.ends_at(Window.DAY, morning) == ms("2026-12-02", honolulu)
    assert west.ends_at(Window.MONTH, morning) == ms("2027-01-01", honolulu)


def test_a_timezone_that_is_changed_by_mistake_and_back_changes_nothing() -> None:
    berlin, now = ZoneInfo("Europe/Berlin"), ms("2026-11-30T20:00")
    assert Calendar(berlin).with_timezone(ZoneInfo("Asia/Tokyo"), now=now).with_timezone(
        berlin, now=now + 1
    ) == Calendar(berlin)


def test_a_pin_does_not_apply_to_times_before_the_change() -> None:
    now = ms("2036-11-30T20:00")  # by a clock that was ten years ahead
    calendar = Calendar().with_timezone(ZoneInfo("Asia/Tokyo"), now=now)
    assert calendar.day(ms("2026-11-21T20:00")) == date(2026, 11, 22)
    assert calendar.day(now - 1000) == date(2036, 11, 30)  # asked for before the change, and decided after it


# --- names


@pytest.mark.parametrize(("typed", "name"), [("europe/berlin", "Europe/Berlin"), (" UTC ", "UTC"), ("utc", "UTC")])
def test_a_timezone_is_found_in_any_case(typed: str, name: str) -> None:
    assert check_zone(typed) == name


@pytest.mark.parametrize("typed", ["", "Mars/Olympus", "CET", "../../etc/passwd", "Europe", "+01:00"])
def test_an_unknown_timezone_is_refused(typed: str) -> None:
    with pytest.raises(UserError) as caught:
        check_zone(typed)
    assert (caught.value.key, caught.value.values) == ("house.timezone", {"given": typed})


def test_every_offered_timezone_has_a_calendar() -> None:
    assert names()[0] == "UTC"
    assert len(names()) == len(set(names())) > 400
    for name in names():
        assert zone_of(ServerSettings(timezone=check_zone(name))).utcoffset(datetime(2026, 11, 21)) is not None  # noqa: DTZ001


@pytest.mark.parametrize("name", ["Atlantis/Lost", "../UTC", "", "Europe"])
def test_a_timezone_that_is_no_longer_known_counts_as_utc(name: str) -> None:
    assert zone_of(ServerSettings(timezone=name)) is UTC
