"""Submits that fail before any byte is sent: nothing is ordered or assumed to be billed."""

from pathlib import Path

import pytest

from bot.core.jobs import State
from bot.providers.http import client
from bot.providers.runcomfy.client import RunComfy
from tests.jobs.test_lost_submits import host_cost
from tests.kit import rig
from tests.providers.raw_server import answer, serving


@pytest.mark.parametrize(
    ("token", "headers", "ends"),
    [("s3cret\n", {}, "credentials"), ("s3cret", {"X-Odd": "a\nb"}, "down")],
    ids=["signing fails", "writing the head fails"],
)
async def test_a_failure_before_the_first_byte_is_recorded_nowhere(
    tmp_path: Path, token: str, headers: dict[str, str], ends: str
) -> None:
    async with serving(answer()) as server:
        http = client(server.url, token)
        http.headers.update(headers)
        host = RunComfy(http)
        async with rig(tmp_path, real={"runcomfy": host}) as app:
            job = await app.until_final(await app.imagine(), step=60)

            assert (job.state, job.reason) == (State.FAILED, ends)
            assert [key for key, _ in app.notifications] == [f"operator.{ends}"]
            assert await host_cost(app) == []
            assert not any(each.method == "POST" for each in server.got)
        await host.aclose()
