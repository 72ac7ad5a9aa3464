"""Settings: the shipped file, overridden by the operator's, overridden by the environment; one line per error."""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic_core._pydantic_core import list_all_errors

from bot.app import build
from bot.core.jobs import Verb
from bot.core.processes import Role
from bot.core.routes import Options
from bot.settings.settings import SHIPPED, Settings
from bot.settings.sources import BadSettings


def test_the_shipped_file_starts_closed_and_with_finite_caps() -> None:
    settings = Settings.load({})

    limits = settings.quota.limits()
    assert (settings.discord.guilds, settings.discord.user_install) == ((), False)
    assert (limits.user_day_images, limits.user_day_micro_usd) == (10, 1_000_000)
    assert (limits.guild_month_micro_usd, limits.host_month_micro_usd) == (20_000_000, 50_000_000)


def test_the_environment_overrides_the_operators_file_which_overrides_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[quota]\nuser_day_images = 3\nuser_in_flight = 1\n[discord]\nguilds = ["12"]\n')

    settings = Settings.load({"DARKROOM_CONFIG": str(path), "DARKROOM_QUOTA__USER_IN_FLIGHT": "2"})

    assert (settings.quota.user_day_images, settings.quota.user_in_flight) == (3, 2)
    assert settings.discord.guilds == ("12",)
    assert settings.quota.guild_in_flight == Settings.load({}).quota.guild_in_flight
    assert settings.files.models == SHIPPED.parent / "models.toml"


def test_files_at_the_place_where_earlier_versions_shipped_them_still_count(tmp_path: Path) -> None:
    """Operators changed them in the checkout, or mounted their own over those of the image."""
    (tmp_path / "bot").symlink_to(SHIPPED.parents[1])
    earlier = tmp_path / "config"
    (earlier / "locales").mkdir(parents=True)
    (earlier / "darkroom.toml").write_text("[quota]\nuser_day_images = 3\nuser_in_flight = 1\n")
    (earlier / "models.toml").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.toml").write_text("[quota]\nuser_in_flight = 2\n")

    looked_at = "held.quota.user_day_images, held.quota.user_in_flight, held.files.models, held.files.locales"
    program = f"from bot.settings.settings import Settings; held = Settings.load(); print({looked_at})"

    def loaded(**environment: str) -> list[str]:
        command = (sys.executable, "-c", program)
        return subprocess.check_output(command, cwd=tmp_path, env=environment, text=True).split()  # noqa: S603 - ours

    files = [str(earlier / "models.toml"), str(earlier / "locales")]
    assert loaded() == ["3", "1", *files]
    assert loaded(DARKROOM_CONFIG=str(tmp_path / "mine" / "own.toml")) == ["3", "2", *files]
    (earlier / "darkroom.toml").unlink()
    assert loaded()[2:] == files


def test_a_wrong_catalogue_is_found_before_a_database_is_made_or_migrated(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("no catalogue")
    settings = Settings.load(
        {
            "DARKROOM_FILES__MODELS": str(tmp_path / "models.toml"),
            "DARKROOM_DATABASE__URL": f"sqlite:///{tmp_path}/darkroom.db",
            "DARKROOM_DATA__DIR": str(tmp_path / "data"),
        }
    )

    async def start() -> None:
        async with build(settings):
            pass

    with pytest.raises(BadSettings):
        asyncio.run(start())
    assert [each.name for each in tmp_path.iterdir()] == ["models.toml"]


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


# --- what is wrong, in one line

WRONG_HERE = [
    '""', '"canary canary"', '"\'canary"', '"\u201ccanary"', '"canary\u200bx"', '"canary\xfc"', "-1", "1.5", "inf",
    "true", "[]", "[true]", '["canary !", "canary"]', f"[{'9' * 30}]", "1979-05-27", "{canary=1}",
]  # fmt: skip
WRONG_THERE = ["canary canary", "'canary'", '["canary', '["canary !", "canary"]', "[[canary]]", "-1", "1.5", "[" * 9999]
FOREIGN = [str(each["message_template_python"]).partition("{")[0] for each in list_all_errors()]
FIELDS = [
    (section, key)
    for section, field in Settings.model_fields.items()
    for key in getattr(field.annotation, "model_fields", ())
]


def refused(environment: dict[str, str]) -> str | None:
    """The one line with which the start ends; None where it does not."""
    try:
        Settings.load(environment)
    except BadSettings as exc:
        said, chained = str(exc), exc.__cause__
    else:
        return None
    assert "\n" not in said
    assert "canary" not in said
    assert not [each for each in FOREIGN if len(each) > 4 and each in said], said
    assert chained is None  # a traceback would quote the value
    return said


@pytest.mark.parametrize(("section", "key"), FIELDS)
def test_a_wrong_value_is_named_as_it_was_typed_with_one_that_works(tmp_path: Path, section: str, key: str) -> None:
    name = f"DARKROOM_{section}__{key}".upper()
    typed = [said for value in WRONG_THERE if (said := refused({name: value}))]
    path, written = tmp_path / "darkroom.toml", []
    for value in WRONG_HERE:
        path.write_text(f"# mine\n[{section}]\n\n{key} = {value}\n")
        written += [said] if (said := refused({"DARKROOM_CONFIG": str(path)})) else []

    assert len(typed) >= 1
    assert len(written) >= 5
    assert [each for each in typed if not each.startswith(f"{name} ")] == []
    assert [each for each in written if not each.startswith(f"{path}, line 4: {section}.{key} ")] == []
    assert [each for each in typed + written if "for example" not in each] == []
    path.write_text(f"[{section}]\n{written[0].rpartition('for example ')[2]}\n")  # what is said to work does work
    beside = {"DARKROOM_DATABASE__URL": "postgresql://pooler/name"} if key == "direct_url" else {}
    for works in {name: typed[0].rpartition("for example ")[2]}, {"DARKROOM_CONFIG": str(path)}:
        assert refused(works | beside) is None


def test_a_server_behind_a_file_is_refused() -> None:
    said = refused({"DARKROOM_DATABASE__DIRECT_URL": "postgresql://host/name"})
    assert said is not None
    assert said.startswith("database.direct_url: is only for PostgreSQL")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DARKROOM_DISCORD__GUILDS", "1122",
         'DARKROOM_DISCORD__GUILDS must be a JSON list of IDs, for example ["1122"]'),
        ("DARKROOM_DISCORD__GUILDS", '["\u00b2"]', "DARKROOM_DISCORD__GUILDS must be"),
        ("DARKROOM_DISCORD__TOKEN", "Bot canary", 'DARKROOM_DISCORD__TOKEN begins with "Bot": write only the token'),
        ("DARKROOM_DISCORD__TOKEN", "MTA\ncanary", "DARKROOM_DISCORD__TOKEN contains a line end (character 4)"),
        ("DARKROOM_RUNCOMFY__API_TOKEN", '"canary"', "DARKROOM_RUNCOMFY__API_TOKEN is in quotes"),
        ("DARKROOM_RUNCOMFY__API_TOKEN", "\u201dcanary", "DARKROOM_RUNCOMFY__API_TOKEN is in quotes"),
        ("DARKROOM_RUNCOMFY__API_TOKEN", 'canary"', "DARKROOM_RUNCOMFY__API_TOKEN contains a quotation mark"),
        ("DARKROOM_RUNFLOW__API_KEY", "rf\u200bcanary", "DARKROOM_RUNFLOW__API_KEY contains a character outside ASCII"),
        ("DARKROOM_RUNFLOW__WEBHOOK_SECRETS", '["whsec_1234", "canary"]',
         "DARKROOM_RUNFLOW__WEBHOOK_SECRETS (entry 2) must be a JSON list of secrets"),
        ("DARKROOM_RUNFLOW__WEBHOOK_SECRETS", '\'["whsec_1234"]\'', "DARKROOM_RUNFLOW__WEBHOOK_SECRETS is in quotes"),
        ("DARKROOM_WEB__PROT", "80", "DARKROOM_WEB__PROT: no such setting; did you mean DARKROOM_WEB__PORT?"),
        ("DARKROOM_DISCORD_TOKEN", "x", "no such setting; did you mean DARKROOM_DISCORD__TOKEN?"),
        ("DARKROOM_QOUTA__USER_DAY_USD", "1", "no such setting; did you mean DARKROOM_QUOTA__USER_DAY_USD?"),
        ("DARKROOM_WEB__HOST", "", "DARKROOM_WEB__HOST must be"),  # which would be every address of the machine
        ("DARKROOM_DATA__DIR", " ", "DARKROOM_DATA__DIR must be"),  # which would be the folder that it was started in
        ("DARKROOM_DATABASE__URL", "sqlite:///:memory:", "DARKROOM_DATABASE__URL must be"),
        ("DARKROOM_DATABASE__URL", "postgresql://ada:can/ary@db/x", "in its password as %2F %40"),
        ("DARKROOM_DATABASE__URL", "postgresql://ada:canary@[h/d", "for example postgresql://user:pass%2Fword@host"),
        ("DARKROOM_DATABASE__URL", "postgresql://ada:can\u2100ary@db/x", "DATABASE__URL is not a valid address"),
        ("DARKROOM_WEB__METRICS_TOKEN", "canary1", "must be a string of 8 characters or more, or empty"),
        ("DARKROOM_DISCORD__API_BASE", "http://discord.example/api", "DARKROOM_DISCORD__API_BASE must begin with https://"),
        ("DARKROOM_DISCORD__GATEWAY_URL", "ws://discord.example", "DARKROOM_DISCORD__GATEWAY_URL must begin with wss://"),
        ("DARKROOM_RUNCOMFY__API_BASE", "https://", "DARKROOM_RUNCOMFY__API_BASE must be an address"),
        ("DARKROOM_RUNCOMFY__API_BASE", "https://a.example:99999", "DARKROOM_RUNCOMFY__API_BASE must be an address"),
        ("DARKROOM_RUNCOMFY__API_BASE", "https://xn--zz--.example", "DARKROOM_RUNCOMFY__API_BASE must be an address"),
        ("DARKROOM_RUNCOMFY__BALANCE_URL", f"https://{'a' * 64}.example", "DARKROOM_RUNCOMFY__BALANCE_URL must be"),
        ("DARKROOM_WEB__PUBLIC_URL", "https://a b.example", "DARKROOM_WEB__PUBLIC_URL contains a space (character 10)"),
        ("DARKROOM_CONFIG", "/nowhere/darkroom.toml", "/nowhere/darkroom.toml cannot be read: No such file"),
    ],
)  # fmt: skip
def test_common_mistakes_have_distinct_messages(name: str, value: str, says: str) -> None:
    assert says in (refused({name: value}) or "nothing")


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n", "\ufeff{}", "\u00a0{}\u200b", "\t{}\u2028\x00"])
def test_whitespace_around_a_pasted_value_is_removed(tmp_path: Path, around: str) -> None:
    path = tmp_path / "darkroom.toml"
    path.write_text(f"\ufeff[runcomfy]\napi_base = {json.dumps(around.format('https://a.example/'))}\n")
    settings = Settings.load(
        {
            "DARKROOM_CONFIG": around.format(path),
            "DARKROOM_DISCORD__TOKEN": around.format("token"),
            "DARKROOM_RUNFLOW__WEBHOOK_SECRETS": around.format(json.dumps([around.format("whsec_1234")])),
            "DARKROOM_DATABASE__URL": around.format("postgresql://ada:pass@db/darkroom"),
            "DARKROOM_WEB__PORT": around.format("80"),
        }
    )

    assert settings.secrets()[:3] == ["token", "whsec_1234", "postgresql://ada:pass@db/darkroom"]
    assert (settings.runcomfy.api_base, settings.web.port) == ("https://a.example", 80)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[quota", "{} is not valid TOML: "),
        ("\x00", "{} is not valid TOML: "),
        (f"[web]\nport = {'9' * 5000}", "{} is not valid TOML: "),
        ("\nquota = 3", "{}, line 2: quota is not a section: "),
        ("[[web]]\nport = 3", "{}, line 1: web is not a section: "),
        ("[nowhere]\na = 1", "{}, line 1: nowhere: no such setting"),
        ("[web]\nhost = 'x'\nprot = 1", "{}, line 3: web.prot: no such setting; did you mean port?"),
        ("[quota]\nuser_day_usd = 'x'", '{}, line 2: quota.user_day_usd must be dollars from 0 up, or "none", for'),
        ("web.host = 'x'\nweb.port = 'x'", "{}, line 2: web.port must be a port"),
        ("web = { port = 'x' }", "{}, line 1: web.port must be a port"),
        ("[discord]\ncdn_hosts = [\n'a.b',\n'https://c.d']", "{}, line 2: discord.cdn_hosts (entry 2) must be a list"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "darkroom.toml"
    path.write_text(text)

    assert (refused({"DARKROOM_CONFIG": str(path)}) or "").startswith(says.format(path))


def test_half_a_file_never_starts_with_half_a_meaning(tmp_path: Path) -> None:
    """Cut anywhere but inside a number, the shipped file is refused or says the same for what is left of it."""
    whole, path = SHIPPED.read_text(), tmp_path / "darkroom.toml"
    expected = Settings.load({})
    for length in range(0, len(whole), 97):
        if whole[length - 1 : length + 1].isdecimal():  # "50" cut short is 5, which no program can notice
            continue
        path.write_text(whole[:length])
        with suppress(BadSettings):
            assert Settings.load({"DARKROOM_CONFIG": str(path)}).quota == expected.quota


@pytest.mark.parametrize("name", ["mentions", "message_content"])
def test_over_http_no_messages_can_be_read(name: str) -> None:
    environment = {"DARKROOM_DISCORD__TRANSPORT": "http", f"DARKROOM_DISCORD__{name.upper()}": "true"}
    with pytest.raises(BadSettings, match=f"^discord.{name}: needs the gateway"):
        Settings.load(environment)


@pytest.mark.parametrize(("transport", "role"), [("gateway", "gateway"), ("http", "web")])
def test_interactions_are_answered_where_they_arrive(transport: str, role: str) -> None:
    def answers(*roles: str) -> bool:
        environment = {
            "DARKROOM_DATABASE__URL": "postgresql://127.0.0.1/darkroom",
            "DARKROOM_DISCORD__TRANSPORT": transport,
            "DARKROOM_PROCESS__ROLES": json.dumps(roles),
        }
        return Settings.load(environment).answers

    assert [each for each in Role if answers(each)] == [role]


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

    with pytest.raises(BadSettings) as caught:
        Settings.load({"DARKROOM_CONFIG": str(tmp_path / "darkroom.toml")}).catalog()

    line = 1 + (tmp_path / "models.toml").read_text().splitlines().index('per_image = "-1"')
    where = f"{tmp_path}/models.toml, line {line}: models.nano-banana-2.price.per_image"
    assert str(caught.value) == f"{where} must be at least 0"


def test_the_catalogue_has_the_models_of_the_providers_in_use() -> None:
    def offered(*hosts: str) -> Options:
        settings = Settings.load({"DARKROOM_ROUTING__PREFER": json.dumps(hosts)})
        return settings.catalog().endpoint("nano-banana-2", Verb.IMAGINE).options

    assert offered("runcomfy") == Settings.load({}).catalog().endpoint("nano-banana-2", Verb.IMAGINE).options
    assert offered("runcomfy").thinking is None
    assert offered("runflow") == offered("runcomfy", "runflow")
    assert offered("runflow").thinking is not None


def test_a_catalogue_without_models_for_the_providers_in_use_is_one_line_that_names_both(tmp_path: Path) -> None:
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
    assert "postgresql://" in (refused({"DARKROOM_DATABASE__URL": url}) or "")


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


def test_a_rest_proxy_of_the_private_network_needs_no_tls_and_nothing_else_goes_without() -> None:
    address = {"DARKROOM_DISCORD__API_BASE": "http://nirn:8080/api/v10"}
    proxied = {"DARKROOM_DISCORD__REST_PROXY": "true"}

    assert Settings.load(address | proxied).discord.proxied
    assert not Settings.load(proxied).discord.proxied  # Discord's own address
    assert "must begin with https://" in (refused(address) or "")
    assert "http.proxy" in (refused(address | proxied | {"DARKROOM_HTTP__PROXY": "http://proxy:3128"}) or "")


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
