"""The admins' command `/status`: image services, speed, queue and limits of a server."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from discord import app_commands

from bot.core.quota import Limit, Scope, Unit
from bot.core.windows import Window
from bot.store.queries import QuotaStatus
from bot.ui.admin.permissions import Admin, AdminAction
from bot.ui.cards.status import ModelSpeed, OperatorFacts, Service, Status, status
from bot.ui.cards.usage import usage_line
from bot.ui.interactions.access import Access
from bot.ui.interactions.parsing import place_of
from bot.ui.interactions.timeouts import database_timeout

SHARES = (0.5, 0.95)  # of the jobs of a model
OF_SERVER = frozenset({Scope.GUILD, Scope.CAP})

Balances = Callable[[], Mapping[str, int]]  # micro-dollars by provider, where known


class StatusCommand:
    """Registers and runs the command. Its cost does not depend on the number of jobs."""

    def __init__(self, admin: Admin, *, access: Access, balances: Balances) -> None:
        self._admin = admin
        self._services = admin.services
        self._access = access
        self._balances = balances

    def add_to(self, tree: app_commands.CommandTree[Any]) -> None:
        tree.add_command(self._admin.command("status", self._show))

    async def _show(self, action: AdminAction) -> None:
        services, place = self._services, place_of(action.interaction, member=True)
        async with database_timeout("busy"):
            quota = await services.usage.quota_status(place)
            outages = await services.availability.recorded_outages()
        names = {each: services.availability.name_of(each) for each in services.availability.providers}
        facts = Status(
            services=[
                Service(name, outages[key].kind, outages[key].since) if key in outages else Service(name)
                for key, name in names.items()
            ],
            speeds=list(self._speeds()),
            here=services.queues.counts(action.server),
            everywhere=services.queues.counts(),
            limits=[usage_line(each, quota.used) for each in quota.limits if each.scope in OF_SERVER],
            operator=self._for_operator(quota, names) if self._access.is_owner(action.interaction.user.id) else None,
        )
        view = status(facts, action.words, now=self._admin.responder.clock())
        await self._admin.responder.reply_privately(action.interaction, view)

    def _speeds(self) -> Iterator[ModelSpeed]:
        services = self._services
        for key, model in services.offered.models.items():
            found = services.poll_timing.quantiles(key, services.availability.providers, shares=SHARES)
            yield ModelSpeed(model.name, *(found or ()))

    def _for_operator(self, quota: QuotaStatus, names: Mapping[str, str]) -> OperatorFacts:
        balances = self._balances()
        return OperatorFacts(
            balances=[(name, balances.get(key)) for key, name in names.items()],
            cap=[usage_line(each, quota.used) for each in quota.limits if _is_cap(each)],
        )


def _is_cap(limit: Limit) -> bool:
    return (limit.scope, limit.unit, limit.window) == (Scope.HOST, Unit.MICRO_USD, Window.MONTH)
