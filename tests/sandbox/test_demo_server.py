"""The server of the demo: rules that its members meet, and a page for each channel."""

from pathlib import Path

import aiohttp

from bot.core.jobs import Place
from bot.sandbox import demo
from bot.sandbox.demo_server import BENS_PICTURES, BONUS
from bot.sandbox.pages import REPLACED
from bot.sandbox.service import Pace

SLOW = Pace(queue_s=600, run_s=600)


async def test_each_channel_has_its_own_rules(tmp_path: Path) -> None:
    async with demo.stage(tmp_path / "demo", port=0, pace=SLOW) as scene:
        at = scene.server

        closed = await at.ada.slash(at.lounge, "imagine", prompt="a fox")
        too_many = await at.ada.slash(at.sketches, "imagine", prompt="a fox", count=2)
        too_large = await at.ada.slash(at.sketches, "imagine", prompt="a fox", resolution="2K")
        open_jobs = await scene.app.services.store.open_jobs(at.ada.id, since=0)
        accepted = await at.ada.slash(at.pictures, "imagine", prompt="a fox", count=2, resolution="2K")

        assert all(each.response.ephemeral for each in (closed, too_many, too_large))
        assert open_jobs == ([], 0)
        assert not accepted.response.ephemeral
        assert (await scene.app.services.store.open_jobs(at.ada.id, since=0))[0]


async def test_a_member_has_a_bonus_and_another_one_a_limit(tmp_path: Path) -> None:
    async with demo.stage(tmp_path / "demo", port=0, pace=SLOW) as scene:
        at, usage = scene.server, scene.app.services.usage

        ada, ben = [await usage.quota_status(Place(each.id, at.pictures.id, at.id)) for each in (at.ada, at.ben)]

        assert [each.left for each in ada.grants] == [BONUS]
        assert [each.amount for each in ben.limits if each.name == "user_day_images"] == [BENS_PICTURES]
        assert not ben.grants


async def test_only_admins_see_the_admin_commands(tmp_path: Path) -> None:
    async with demo.stage(tmp_path / "demo", port=0, pace=SLOW) as scene:
        at = scene.server

        seen = {each.name for each in at.members if "settings show" in each.available_commands(at.pictures)}

        assert seen == {"noor"}


async def test_a_page_links_to_the_other_channels_and_stays_at_its_end(tmp_path: Path) -> None:
    async with demo.stage(tmp_path / "demo", port=0, pace=SLOW) as scene, aiohttp.ClientSession() as http:
        origin = scene.url.partition("#")[0].rstrip("/")

        page = await (await http.get(origin)).text()
        script = await (await http.get(f"{origin}/timeline.js")).text()

        assert len(set(scene.urls)) == 3
        assert all(each in page for each in scene.urls)
        assert all(new in script for _, new in REPLACED["/timeline.js"])
