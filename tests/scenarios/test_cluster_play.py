"""`make cluster` shows what it promises."""

import pytest

from tests.scenarios import cluster_play
from tests.scenarios.conftest import GATEWAY

pytestmark = [GATEWAY, pytest.mark.prove]


async def test_every_picture_is_made_once_though_processes_are_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert await cluster_play.main() == 0
    said = capsys.readouterr().out
    assert "All 60 pictures were ordered once, shown once and charged once" in said
    ends = {
        line.split("  ")[0]: line.split()[-1] for line in said.splitlines() if line.startswith(("worker", "gateway"))
    }
    assert ends == {
        "worker-1": "killed",
        "worker-2": "stopped",
        "worker-3": "stopped",
        "gateway-a": "killed",
        "gateway-b": "stopped",
        "gateway-a, again": "stopped",
    }
