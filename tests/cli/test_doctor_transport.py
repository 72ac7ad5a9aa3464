"""`darkroom doctor` compares how interactions arrive with where Discord sends them."""

import pytest

from bot.cli.doctor import _transport
from bot.settings.settings import Settings

PUBLIC = "https://darkroom.example"
OURS = f"{PUBLIC}/interactions"


def examined(transport: str, endpoint: str, *, public_url: str = PUBLIC) -> tuple[bool | None, str] | None:
    environment = {"DARKROOM_DISCORD__TRANSPORT": transport, "DARKROOM_WEB__PUBLIC_URL": public_url}
    line = _transport(Settings.load(environment), endpoint)
    return (line.good, str(line)) if line is not None else None


def test_over_the_gateway_only_an_endpoint_is_mentioned() -> None:
    assert examined("gateway", "") is None
    found = examined("gateway", OURS)
    assert found is not None
    good, text = found
    assert good is None
    assert f"sends interactions to {OURS} and none over the gateway - clear Interactions Endpoint URL" in text


@pytest.mark.parametrize("public_url", ["", "http://darkroom.example"])
def test_over_http_a_public_address_with_tls_is_needed(public_url: str) -> None:
    found = examined("http", "", public_url=public_url)
    assert found is not None
    good, text = found
    assert good is False
    assert "set web.public_url to the https:// address" in text


@pytest.mark.parametrize("endpoint", ["", "https://another.example/interactions"])
def test_over_http_another_endpoint_is_reported_with_what_to_enter_in_the_portal(endpoint: str) -> None:
    found = examined("http", endpoint)
    assert found is not None
    good, text = found
    assert good is False
    assert f"sends interactions to {endpoint or 'the gateway'} - set Interactions Endpoint URL" in text
    assert f"to {OURS}, while darkroom run is running" in text


@pytest.mark.parametrize("endpoint", [OURS, f"{OURS}/"])
def test_over_http_our_endpoint_is_right(endpoint: str) -> None:
    assert examined("http", endpoint) == (True, f"ok    Discord sends interactions to {OURS}")


def test_this_machine_needs_no_tls() -> None:
    local = "http://127.0.0.1:8080"
    assert examined("http", f"{local}/interactions", public_url=local) is not None
    assert examined("http", f"{local}/interactions", public_url=local) == (
        True,
        f"ok    Discord sends interactions to {local}/interactions",
    )
