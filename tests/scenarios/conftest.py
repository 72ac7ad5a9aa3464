"""Every scenario runs with each way in which interactions arrive."""

import pytest

GATEWAY = pytest.mark.parametrize("transport", ["gateway"], indirect=True)  # for what arrives over nothing else
BOTH = pytest.mark.parametrize("transport", ["gateway", "http"], indirect=True)  # in `make test`, too


@pytest.fixture(autouse=True)
def _transport(transport: str) -> str:
    return transport
