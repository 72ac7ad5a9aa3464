import logging
import re
from pathlib import Path

import pytest

from bot.ui.cards.texts import PLACEHOLDER, Texts, Words, load, relative
from tests.ui.cards.drawing import EN, TEXTS
from tests.ui.cards.drawing import LOCALES as SENTENCES

ROOT = Path(__file__).parents[3]
LOCALES = ROOT / "bot/config/locales"

REASONS = (
    "expired_waiting", "inputs_expired", "rejected", "model_gone", "unknown", "gave_up", "run_lost", "host_failed",
    "no_pictures", "result_host_blocked", "bad_input_picture", "refused", "credentials", "balance", "down",
    "unacknowledged", "cancelled_by_host", "late", "no_output", "unreadable",
)  # fmt: skip


def write(folder: Path, **locales: str) -> Path:
    for name, toml in locales.items():
        (folder / f"{name}.toml").write_text(toml, encoding="utf-8")
    return folder


def test_every_language_is_complete() -> None:
    assert set(TEXTS.locales) == {"en", "de", "fr", "es", "pt-BR", "ru"}


def test_every_error_the_code_raises_has_a_text() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "bot").rglob("*.py")]
    raised = {key for source in sources for key in re.findall(r'UserError\(\s*"([a-z_.]+)"', source)}

    assert raised, "the pattern finds nothing"
    assert [key for key in sorted(raised) if not EN.knows(f"error.{key}")] == []


def test_every_reason_a_job_can_end_for_has_a_text() -> None:
    steps = [path.read_text(encoding="utf-8") for path in (ROOT / "bot/jobs/steps").glob("*.py")]
    used = {key for each in steps for key in re.findall(r'reason="([a-z_]+)"', each)}

    assert [key for key in sorted(used | set(REASONS)) if not EN.knows(f"reason.{key}")] == []


def test_every_message_to_the_operator_has_a_text() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "bot").rglob("*.py")]
    told = {key for source in sources for key in re.findall(r'"(operator\.[a-z_]+)"', source)}
    troubles = {f"operator.{each}" for each in ("credentials", "balance", "down")}

    assert [key for key in sorted(told | troubles) if not EN.knows(key)] == []


@pytest.mark.parametrize("locale", TEXTS.locales)
def test_only_the_ledger_says_that_nothing_was_charged(locale: str) -> None:
    words = TEXTS.for_locale(locale)
    nothing = words.say("charge.nothing").strip("*.")

    assert [key for key, sentence in words._own.items() if nothing in sentence and key != "charge.nothing"] == []


@pytest.mark.parametrize(
    ("code", "locale"),
    [
        ("en-US", "en"), ("en-GB", "en"), ("de", "de"), ("fr", "fr"), ("es-ES", "es"), ("es-419", "es"), ("ru", "ru"),
        ("zh-CN", "en"), ("", "en"),
    ],
)  # fmt: skip
def test_discord_locales_map_to_our_languages(code: str, locale: str) -> None:
    assert TEXTS.for_locale(code).locale == locale


@pytest.mark.parametrize(
    ("micro", "money"),
    [
        (80_000, "$0.08"), (0, "$0.00"), (1_000_000, "$1.00"), (1_500_000, "$1.50"), (4_200, "$0.0042"),
        (1, "$0.000001"), (12_345_678, "$12.345678"), (-50_000, "-$0.05"), (20_000_000, "$20.00"),
    ],
)  # fmt: skip
def test_money_is_exact_and_never_shorter_than_cents(micro: int, money: str) -> None:
    assert EN.money(micro) == money


def test_an_estimate_is_marked_and_every_language_writes_money_its_own_way() -> None:
    assert EN.money(80_000, about=True) == "about $0.08"
    assert TEXTS.for_locale("de").money(80_000, about=True) == "etwa 0,08 $"


def test_sizes_lists_and_times_are_written_for_people() -> None:
    assert (EN.size(50 * 1024 * 1024), EN.size(2048), EN.size(1)) == ("50 MB", "2 KB", "1 KB")
    assert [EN.either(each) for each in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a or b",
        "a, b or c",
    ]
    assert relative(1_700_000_000_999) == "<t:1700000000:R>"


def test_numbers_choose_the_form_and_french_counts_nothing_as_one() -> None:
    french = TEXTS.for_locale("fr")

    assert [EN.say("card.asked", count=n) for n in (0, 1, 4)] == ["0 pictures", "1 picture", "4 pictures"]
    assert french.say("charge.left", count=0, now="aujourd'hui") == "encore 0 image aujourd'hui"


def test_a_value_is_put_in_once_and_never_read_as_a_sentence() -> None:
    words = Words("en", {"a": "{x} and {y}"}, english={}, strict=True)

    assert words.say("a", x="{y}", y="%s {0} {x}") == "{y} and %s {0} {x}"


def test_a_missing_sentence_is_an_error_here_and_a_plain_one_in_production(caplog: pytest.LogCaptureFixture) -> None:
    kind = Texts({"en": {"a": "{x}"}}).for_locale("de")

    with caplog.at_level(logging.ERROR):
        assert "has no words yet" in kind.say("nowhere")
        assert kind.say("a") == "?"
    assert len(caplog.records) == 2
    with pytest.raises(KeyError, match="nowhere"):
        EN.say("nowhere")
    with pytest.raises(KeyError, match="place"):
        EN.say("card.place")


def test_another_language_falls_back_to_english() -> None:
    assert Texts({"en": {"a": "yes"}, "de": {}}).for_locale("de").say("a") == "yes"


@pytest.mark.parametrize(
    ("german", "complaint"),
    [
        ('a = "{x}"', "de.toml: b.c is missing"),
        ('a = "{x}"\nd = "d"\n[b]\nc = "c"', "de.toml: d is not in en.toml"),
        ('a = "{y}"\n[b]\nc = "c"', "de.toml: a differs from en.toml in the values x, y"),
        ('a = 3\n[b]\nc = "c"', "de.toml: a is not a sentence"),
        ('a = " "\n[b]\nc = "c"', "de.toml: a is not a sentence"),
        ("a = ", "de.toml is not valid TOML: Invalid value"),
    ],
)
def test_a_language_that_differs_from_english_stops_the_start(tmp_path: Path, german: str, complaint: str) -> None:
    folder = write(tmp_path, en='a = "{x}"\n[b]\nc = "c"', de=german)

    with pytest.raises(ValueError, match=re.escape(complaint)) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_english_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"en\.toml is missing"):
        load(write(tmp_path, de='a = "a"'))


@pytest.mark.parametrize("locale", TEXTS.locales)
def test_every_form_of_a_sentence_keeps_the_values_of_the_other(locale: str) -> None:
    own = TEXTS.for_locale(locale)._own
    ones = [key.removesuffix(".one") for key in own if key.endswith(".one")]

    for key in ones:
        assert set(PLACEHOLDER.findall(own[f"{key}.one"])) <= set(PLACEHOLDER.findall(own[f"{key}.other"]))


def test_commands_are_mentioned_once_their_ids_are_known_but_not_in_labels() -> None:
    texts = Texts(SENTENCES, strict=True)
    before = texts.for_locale("en").say("error.help.quota")

    texts.set_commands({"quota": 7, "jobs": 8})

    assert before == "A server admin can change this with `/quota`."
    assert texts.for_locale("en").say("error.help.quota") == "A server admin can change this with </quota:7>."
    assert "</quota show:7>" in texts.for_locale("de").say("error.admin.unsure")
    assert "`/settings`" in texts.for_locale("fr").say("error.help.settings")
