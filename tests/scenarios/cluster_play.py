"""`make cluster`: a whole deployment on this machine, which loses processes while members make pictures.

Two gateways with two shards each, three workers, and a web process with the keeper run on one PostgreSQL, between the
local Discord and the local image service. Twenty members ask for sixty pictures; a worker and a gateway are killed on
the way, and another worker is told to stop. Prints who did what, and whether each picture was made and shown once.
"""

import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bot.cli.output import print_table
from bot.sandbox.service import Pace
from tests import postgres
from tests.discord.interactions import Interaction
from tests.discord.member import Member
from tests.discord.world import Channel, Guild
from tests.scenarios.cluster import Cluster, cluster
from tests.scenarios.harness import NO_LIMITS, SOON, shows
from tests.store.ledger_model import faults, opened

MEMBERS, EACH, SHARDS = 20, 3, 4
PAUSE = 1.2  # seconds between two commands of a member
PATIENCE = 3.0  # seconds after which Discord says that the application did not respond
LONGEST = 120.0  # seconds until the last picture
PACE = Pace(queue_s=0.5, run_s=4.0, slots=None)
SETTINGS = {**NO_LIMITS, "runcomfy__max_in_flight": 30, "quota__host_in_flight": 500}
HEADS = ("PROCESS", "ROLES", "SHARDS", "COMMANDS", "ORDERED", "TAKEN OVER", "FINISHED", "END")


@dataclass
class Part:
    """One process and what it did."""

    roles: str
    shards: str = ""
    end: str = ""
    commands: int = 0  # of members, answered


@dataclass
class Play:
    on: Cluster
    parts: dict[str, Part] = field(default_factory=dict)
    shards: dict[int, str] = field(default_factory=dict)  # the process that has each
    asked: list[Interaction] = field(default_factory=list)
    repeated: int = 0  # commands that members had to send again
    orderer: dict[str, int] = field(default_factory=dict)  # the worker that had each job when its run was first seen

    # --- processes

    async def start(self, name: str, roles: str, shards: str = "") -> None:
        self.say(f"start {name} ({roles}{', shards ' + shards if shards else ''})")
        self.parts[name] = Part(roles, shards)
        more = {"discord__shards": shards} if shards else {}
        await self.on.start(name, roles, **more)
        if shards:
            await self._connected(name, shards)

    async def _connected(self, name: str, shards: str) -> None:
        first, last = (int(each) for each in shards.partition("/")[0].split("-"))
        numbers, gateway = range(first, last + 1), self.on.scene.discord.gateway
        await self.on.scene.discord.until(
            lambda: {each.shard[0] for each in gateway.live}.issuperset(numbers), within=2 * SOON
        )
        self.shards |= dict.fromkeys(numbers, name)

    async def kill(self, name: str) -> None:
        self.say(f"kill {name} (SIGKILL)")
        self.parts[name].end = "killed"
        await self.on.processes[name].kill()

    async def stop(self, name: str) -> None:
        self.say(f"stop {name} (SIGTERM)")
        code = await self.on.processes[name].stop()
        self.parts[name].end = "stopped" if code == 0 else f"exit code {code}"

    def say(self, what: str) -> None:
        print(f"  {len(self.asked):>2} of {MEMBERS * EACH} asked: {what}", flush=True)

    # --- members

    async def ask(self, number: int, member: Member, channel: Channel, guild: Guild) -> None:
        """Ask for pictures one after the other; what Discord says was not answered is asked again."""
        await asyncio.sleep(PAUSE * EACH * number / MEMBERS)
        for n in range(EACH):
            while True:
                asked = await member.slash(channel, "imagine", prompt=f"picture {n + 1} of member {number}")
                try:
                    await asked.acked(within=PATIENCE)
                    break
                except TimeoutError:
                    self.repeated += 1
            self.parts[self.shards[(guild.id >> 22) % SHARDS]].commands += 1
            self.asked.append(asked)
            await asyncio.sleep(PAUSE)

    async def when(self, asked: int) -> None:
        """Wait until members have asked for so many pictures."""
        async with asyncio.timeout(LONGEST):
            while len(self.asked) < asked:
                await self.watch()

    async def watch(self) -> int:
        """Look which worker has ordered which picture; returns how many jobs are unfinished."""
        rows = await self.on.rows("SELECT id, worker, run_id, ended_at FROM jobs")
        for job, worker, run, _ in rows:
            if run is not None and worker:
                self.orderer.setdefault(job, worker)
        return sum(ended is None for *_, ended in rows)

    # --- the play

    async def run(self) -> None:
        """Start everything, and let members ask while processes are lost."""
        for n in (1, 2, 3):
            await self.start(f"worker-{n}", "worker")
        await self.start("web", "web,keeper")
        await self.start("gateway-a", "gateway", "0-1/4")
        await self.start("gateway-b", "gateway", "2-3/4")
        async with asyncio.TaskGroup() as asking:
            for each in self._members():
                asking.create_task(self.ask(*each))
            await self.when(asked=20)
            await self.kill("worker-1")
            await self.when(asked=30)
            await self.kill("gateway-a")
            await self.start("gateway-a, again", "gateway", "0-1/4")
            await self.when(asked=48)
            await self.stop("worker-2")
        self.say("wait for the last pictures")
        async with asyncio.timeout(LONGEST):
            while await self.watch():
                pass
        await self.on.at_rest()
        for name, part in self.parts.items():
            if not part.end:
                await self.stop(name)

    def _members(self) -> Iterator[tuple[int, Member, Channel, Guild]]:
        discord = self.on.scene.discord
        places: dict[int, tuple[Channel, Guild]] = {}
        while len(places) < SHARDS:  # a server of each shard; its number is in its id, which has the time
            guild = discord.add_guild(f"Server {len(places) + 1}")
            if (number := (guild.id >> 22) % SHARDS) not in places:
                places[number] = guild.add_channel("pictures"), guild
        for n in range(MEMBERS):
            channel, guild = places[n % SHARDS]
            yield n + 1, discord.add_member(f"member-{n + 1}", guild), channel, guild

    # --- what came of it

    def table(self) -> Sequence[Sequence[object]]:
        names = {number: name for name, number in self.on.numbers.items()}
        ordered = Counter(names[worker] for worker in self.orderer.values())
        rows = []
        for name, part in self.parts.items():
            log = self.on.processes[name].log
            taken = sum(int(each) for each in re.findall(r"event=jobs_claimed.* jobs=(\d+)", log))
            finished = len(re.findall(r"event=job_ended", log))
            rows.append((name, part.roles, part.shards or "-", part.commands, ordered[name], taken, finished, part.end))
        return rows

    async def problems(self) -> list[str]:
        """What is not as promised."""
        found = []
        states = await self.on.states()
        made = len(self.on.scene.host.accepted)
        if states.get("succeeded") != MEMBERS * EACH:
            found.append(f"the jobs ended as {states}")
        if made != MEMBERS * EACH:
            found.append(f"{made} pictures were ordered")
        if unshown := [each for each in self.asked if each.message is None or not shows("Done")(each.message)]:
            found.append(f"{len(unshown)} cards do not show their picture")
        async with opened(self.on.url) as store:
            found += [str(each) for each in await faults(store)]
        return found


async def main() -> int:
    began = time.monotonic()
    print("Darkroom in several processes: PostgreSQL, the local Discord, the local image service.\n", flush=True)
    with postgres.server() as server, tempfile.TemporaryDirectory(prefix="cluster") as folder:
        async with postgres.fresh(server) as url, cluster(Path(folder), url, pace=PACE, **SETTINGS) as on:
            play = Play(on)
            await play.run()
            print()
            print_table(HEADS, play.table())
            problems = await play.problems()
    print(f"\n{play.repeated} commands were sent again, because nobody had answered them in three seconds.")
    if problems:
        print(f"Something went wrong: {'; '.join(problems)}.")
        return 1
    print(
        f"All {MEMBERS * EACH} pictures were ordered once, shown once and charged once; the ledger is exact. "
        f"{time.monotonic() - began:.0f} s."
    )
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
