"""Builds the handlers of interactions and installs them in the client."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.jobs.build import Services
from bot.observability.metrics import Metrics
from bot.ui.admin.moderate import ModerateCommands
from bot.ui.admin.permissions import Admin
from bot.ui.admin.quota import QuotaCommands
from bot.ui.admin.quota_reports import QuotaReports
from bot.ui.admin.settings import SettingsCommands
from bot.ui.admin.status import Balances, StatusCommand
from bot.ui.admin.styles import StyleCommands
from bot.ui.buttons.router import Router
from bot.ui.client import DarkroomClient, Interface
from bot.ui.commands.generate import Commands
from bot.ui.commands.history import History
from bot.ui.commands.preferences import MemberPages
from bot.ui.commands.usage import DrawChart
from bot.ui.interactions.background import Background
from bot.ui.interactions.gallery import Gallery
from bot.ui.interactions.moderators import Moderators, RemoveFiles
from bot.ui.interactions.private_delivery import PrivateDelivery, Uploads
from bot.ui.interactions.responder import CheckFirstBytes, Responder
from bot.ui.interactions.result_links import ResultLinks
from bot.ui.messages.requests import AnswerMessage, MessageRequests
from bot.ui.transport.moderation_log import ModerationLog
from bot.ui.transport.threads import ThreadOpener


@dataclass(frozen=True, slots=True)
class InterfaceSettings:
    """Settings that members see: *provider_names* are display names; pictures and prompts are kept for a time."""

    provider_names: Sequence[str]
    keep_hours: int  # of pictures
    keep_days: int  # of prompts
    user_install: bool
    has_gateway: bool = True  # without it no messages arrive


def build(
    client: DarkroomClient,
    services: Services,
    settings: InterfaceSettings,
    *,
    check_first_bytes: CheckFirstBytes,
    uploads: Uploads,
    originals: Uploads,
    remove_files: RemoveFiles,
    chart: DrawChart,
    balances: Balances,
    answer_message: AnswerMessage,
    metrics: Metrics,
) -> None:
    """Register the commands and install the handlers.

    *check_first_bytes* is `ReferenceChecker.check_within_ack`, *uploads* is `Delivery.uploads`, *originals* is
    `Delivery.originals`, *chart* is `PicturePool.draw`, *balances* is `ProviderChecks.balances`. *remove_files* deletes
    pictures from the storage. *answer_message* is `DiscordMessenger.answer_message`.
    """
    responder = Responder(
        client, services, texts=client.texts, access=client.access, check_first_bytes=check_first_bytes, metrics=metrics
    )
    private_delivery, admin = PrivateDelivery(responder, uploads, originals=originals), Admin(responder)
    links = ResultLinks(client, client.rate_limits)
    history = History(responder, links=links, uploads=uploads)
    pages = MemberPages(
        responder,
        provider_names=settings.provider_names,
        keep_hours=settings.keep_hours,
        keep_days=settings.keep_days,
    )
    commands = Commands(
        responder,
        private_delivery=private_delivery,
        provider_names=settings.provider_names,
        keep_hours=settings.keep_hours,
        keep_days=settings.keep_days,
        user_install=settings.user_install,
        chart=chart,
        history=history,
        pages=pages,
    )
    background = Background()
    moderators = Moderators(
        responder, ModerationLog(client, client.rate_limits), remove_files=remove_files, background=background
    )
    router = Router(
        responder,
        private_delivery=private_delivery,
        remove_files=remove_files,
        admin=admin,
        tray=commands.tray,
        history=history,
        pages=pages,
        show_jobs=commands.show_jobs,
        gallery=Gallery(client, responder, client.rate_limits, uploads),
        moderators=moderators,
        background=background,
        threads=ThreadOpener(client, limits=client.rate_limits) if client.reads_messages else None,
    )
    commands.add_to(client.tree)
    quota = admin.group("quota")
    QuotaCommands(admin).add_to(quota)
    QuotaReports(admin).add_to(quota)
    client.tree.add_command(quota)
    SettingsCommands(
        admin,
        messages=client.request_messages if client.reads_messages else None,
        has_gateway=settings.has_gateway,
    ).add_to(client.tree)
    StyleCommands(admin, contexts=commands.contexts).add_to(client.tree)
    ModerateCommands(admin, moderators).add_to(client.tree)
    StatusCommand(admin, access=client.access, balances=balances).add_to(client.tree)
    messages = MessageRequests(
        client,
        responder,
        messages=client.request_messages,
        answer_message=answer_message,
        links=links,
        limits=client.rate_limits,
    )
    client.install(Interface(responder, router, messages))
