"""Settings: the shipped file, the operator's over it, the environment over both; one line for what is wrong."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from bot.core.jobs import Verb
from bot.core.routes import Options
from bot.settings import SHIPPED, BadSettings, Settings


def test_the_shipped_file_starts_closed_and_with_finite_caps() -> None:
    settings = Settings.load({})

    limits = settings.quota.limits()
    assert (settings.discord.guilds, settings.discord.user_install) == ((), False)
    assert (limits.user_day_images, limits.user_day_micro_usd) == (10, 1_000_000)
    assert (limits.guild_month_micro_usd, limits.host_month_micro_usd) == (20_000_000, 50_000_000)


def test_the_environment_stands_over_the_operators_file_and_that_over_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[quota]\nuser_day_images = 3\nuser_in_flight = 1\n[discord]\nguilds = ["12"]\n')

    settings = Settings.load({"DARKROOM_CONFIG": str(path), "DARKROOM_QUOTA__USER_IN_FLIGHT": "2"})

    assert (settings.quota.user_day_images, settings.quota.user_in_flight) == (3, 2)
    assert settings.discord.guilds == ("12",)
    assert settings.quota.guild_in_flight == Settings.load({}).quota.guild_in_flight
    assert settings.files.models == SHIPPED.parent / "models.toml"


def test_none_is_no_limit_and_zero_is_nothing_allowed() -> None:
    settings = Settings.load({"DARKROOM_QUOTA__USER_DAY_IMAGES": "none", "DARKROOM_QUOTA__USER_DAY_USD": "0"})

    assert (settings.quota.limits().user_day_images, settings.quota.limits().user_day_micro_usd) == (None, 0)


@pytest.mark.parametrize(("value", "low"), [(None, 5_000_000), ("0.5", 500_000), ("0", 0), ("none", None)])
def test_a_low_balance_is_five_dollars_any_other_sum_or_no_matter(value: str | None, low: int | None) -> None:
    env = {} if value is None else {"DARKROOM_ROUTING__LOW_BALANCE_USD": value}
    assert Settings.load(env).routing.low_balance == low


def test_dollars_are_exact_to_the_micro_dollar() -> None:
    settings = Settings.load({"DARKROOM_QUOTA__USER_DAY_USD": "0.123456"})

    assert settings.quota.limits().user_day_micro_usd == 123_456


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DARKROOM_WEB__PORT", "eighty", "web.port"),
        ("DARKROOM_WEB__PROT", "80", "web.prot: there is no such setting"),
        ("DARKROOM_QOUTA__USER_DAY_USD", "1", "DARKROOM_QOUTA__USER_DAY_USD: there is no such setting"),
        ("DARKROOM_TOKEN", "1", "DARKROOM_TOKEN: there is no such setting"),
        ("DARKROOM_QUOTA__USER_DAY_USD", "-1", "quota.user_day_usd"),
        ("DARKROOM_QUOTA__USER_DAY_USD", "NaN", "quota.user_day_usd"),
        ("DARKROOM_QUOTA__USER_DAY_USD", "0.0000001", "quota.user_day_usd"),
        ("DARKROOM_QUOTA__USER_DAY_IMAGES", "2.5", "quota.user_day_images"),
        ("DARKROOM_DISCORD__GUILDS", '["my server"]', "discord.guilds"),
        ("DARKROOM_DISCORD__GUILDS", "[12", "DARKROOM_DISCORD__GUILDS: lists are written as JSON"),
        ("DARKROOM_DISCORD__API_BASE", "http://discord.example/api", "discord.api_base"),
        ("DARKROOM_DISCORD__GATEWAY_URL", "ws://discord.example", "discord.gateway_url"),
        ("DARKROOM_RUNCOMFY__API_BASE", "http://example.com", "runcomfy.api_base"),
        ("DARKROOM_RUNCOMFY__RESULT_HOSTS", '["https://a.b"]', "runcomfy.result_hosts"),
        ("DARKROOM_RUNFLOW__WEBHOOK_SECRETS", "whsec_without_a_list", "runflow.webhook_secrets"),
        ("DARKROOM_RUNFLOW__WEBHOOK_SECRETS", '["canary"]', "runflow.webhook_secrets.0"),
        ("DARKROOM_ROUTING__PREFER", '["nobody"]', "routing.prefer"),
        ("DARKROOM_DATABASE__URL", "mysql://x", "database.url"),
        ("DARKROOM_CONFIG", "/nowhere/darkroom.toml", "/nowhere/darkroom.toml: cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_its_key(name: str, value: str, says: str) -> None:
    with pytest.raises(BadSettings) as caught:
        Settings.load({name: value})

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["[quota", "\x00", "quota = 3", '[quota]\nuser_day_usd = "x"', "[nowhere]\na = 1"])
def test_a_broken_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "darkroom.toml"
    path.write_text(text)

    with pytest.raises(BadSettings) as caught:
        Settings.load({"DARKROOM_CONFIG": str(path)})

    assert "\n" not in str(caught.value)


def test_half_a_file_never_starts_with_half_a_meaning(tmp_path: Path) -> None:
    """Cut anywhere, the shipped file is refused or says the same for what is left of it."""
    whole, path = SHIPPED.read_text(), tmp_path / "darkroom.toml"
    expected = Settings.load({})
    for length in range(0, len(whole), 97):
        path.write_text(whole[:length])
        with suppress(BadSettings):
            assert Settings.load({"DARKROOM_CONFIG": str(path)}).quota == expected.quota


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(BadSettings, match="DARKROOM_DISCORD__TOKEN is not set"):
        Settings.load({}).require_secrets()
    with pytest.raises(BadSettings, match="DARKROOM_RUNCOMFY__API_TOKEN is not set"):
        Settings.load({"DARKROOM_DISCORD__TOKEN": "x"}).require_secrets()


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = Settings.load(
        {
            "DARKROOM_DISCORD__TOKEN": "canary-one",
            "DARKROOM_RUNCOMFY__API_TOKEN": "canary-two",
            "DARKROOM_RUNFLOW__WEBHOOK_SECRETS": '["canary-three", "canary-four"]',
        }
    )

    assert "canary" not in repr(settings)
    assert settings.secrets() == ["canary-one", "canary-two", "canary-three", "canary-four"]


def test_a_broken_catalogue_names_its_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text((SHIPPED.parent / "models.toml").read_text().replace('"0.08"', '"-1"'))
    (tmp_path / "darkroom.toml").write_text("")

    with pytest.raises(BadSettings, match=r"models\.toml: models\.nano-banana-2\.price\.per_image"):
        Settings.load({"DARKROOM_CONFIG": str(tmp_path / "darkroom.toml")}).catalog()


def test_the_catalogue_is_what_the_hosts_in_use_have() -> None:
    def offered(*hosts: str) -> Options:
        settings = Settings.load({"DARKROOM_ROUTING__PREFER": json.dumps(hosts)})
        return settings.catalog().endpoint("nano-banana-2", Verb.IMAGINE).options

    assert offered("runcomfy") == Settings.load({}).catalog().endpoint("nano-banana-2", Verb.IMAGINE).options
    assert offered("runcomfy").thinking is None
    assert offered("runflow") == offered("runcomfy", "runflow")
    assert offered("runflow").thinking is not None


def test_a_catalogue_without_anything_for_the_hosts_in_use_is_one_line_that_names_both(tmp_path: Path) -> None:
    text = (SHIPPED.parent / "models.toml").read_text().replace('provider = "runflow"', 'provider = "runcomfy"')
    (tmp_path / "models.toml").write_text(text)
    (tmp_path / "darkroom.toml").write_text('[routing]\nprefer = ["runflow"]')

    with pytest.raises(BadSettings) as caught:
        Settings.load({"DARKROOM_CONFIG": str(tmp_path / "darkroom.toml")}).catalog()
    assert str(caught.value) == "routing.prefer: models.toml has no model with a route at runflow"


def test_a_databases_password_is_a_secret_and_is_not_shown() -> None:
    settings = Settings.load({"DARKROOM_DATABASE__URL": "postgresql://ada:canary%2Dthree@db.example/darkroom"})
    assert {"canary%2Dthree", "canary-three"} <= set(settings.secrets())
    assert "canary" not in repr(settings) + str(settings.model_dump()) + settings.database.shown
    assert Settings.load({}).secrets() == []


@pytest.mark.parametrize("url", ["postgres://", "mysql://ada:canary@x/y", "postgresql:///x?user=a&password=canary"])
def test_a_database_that_cannot_be_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(BadSettings, match=r"^database\.url: ") as caught:
        Settings.load({"DARKROOM_DATABASE__URL": url})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("none", None),
        ("", None),
        ("http://proxy:3128", "http://proxy:3128"),
        ("https://me:p%40ss@proxy.example/", "https://me:p%40ss@proxy.example/"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
    ],
)
def test_a_proxy_is_an_address_or_none(value: str, address: str | None) -> None:
    http = Settings.load({"DARKROOM_HTTP__PROXY": value}).http

    assert http.proxy_to("https://discord.com/api/v10") == address
    assert http.proxy_to("http://127.0.0.1:8080/api/v10") is None


@pytest.mark.parametrize(
    "value",
    ["proxy:3128", "socks5://proxy:1080", "http://", "http://a b:1", "http://me:canary@x@proxy", "http://proxy:1/path",
     "http://proxy:99999", "http://me:can\u00e4ry@proxy", "http://me:canary\x00@proxy"],
)  # fmt: skip
def test_a_proxy_of_another_form_is_refused_with_the_form_that_works(value: str) -> None:
    with pytest.raises(BadSettings, match=r"http://user:password@host:3128") as caught:
        Settings.load({"DARKROOM_HTTP__PROXY": value})

    assert "canary" not in str(caught.value)


def test_a_name_and_password_in_an_address_is_neither_printed_nor_logged() -> None:
    address = "https://ada:canary%2Dpass@api.example/v1"
    names = ("DISCORD__API_BASE", "RUNCOMFY__API_BASE", "RUNCOMFY__BALANCE_URL", "RUNFLOW__API_BASE", "WEB__PUBLIC_URL")

    for name in names:
        settings = Settings.load({f"DARKROOM_{name}": address})
        assert "canary" not in f"{settings!r} {settings}"
        assert "https://…@api.example/v1" in repr(settings)
        assert {address, "canary%2Dpass", "canary-pass"} <= set(settings.secrets())
    gateway = Settings.load({"DARKROOM_DISCORD__GATEWAY_URL": address.replace("https", "wss")})
    assert "canary" not in repr(gateway)
