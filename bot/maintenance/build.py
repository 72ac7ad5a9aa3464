"""Builds the background checks."""

from collections.abc import Mapping
from dataclasses import dataclass

from bot.files.storage import PictureStorage
from bot.jobs.build import Services
from bot.maintenance.keeper import Keeper
from bot.maintenance.ledger_audit import LedgerAudit, Post
from bot.maintenance.provider_checks import Probe, ProviderChecks
from bot.maintenance.queue_audit import QueueAudit
from bot.maintenance.retention import Retention
from bot.providers.base import Provider


@dataclass(frozen=True, slots=True)
class MaintenanceRoom:
    keeper: Keeper
    audit: LedgerAudit
    queue_audit: QueueAudit
    provider_checks: ProviderChecks
    retention: Retention


def build(
    services: Services,
    *,
    providers: Mapping[str, Provider],
    low_balance: int | None,
    probe: Probe,
    post_alert: Post,
    storage: PictureStorage,
    keep_hours: int,
    keep_prompts_days: int,
) -> MaintenanceRoom:
    """*low_balance*: micro-dollars below which the operator is notified, None: never.

    *probe* asks the providers with an outage whether it is over; *post_alert* sends a limit warning.
    """
    audit = LedgerAudit(services, post=post_alert)
    provider_checks = ProviderChecks(services, providers=providers, low=low_balance, probe=probe)
    retention = Retention(services, storage=storage, keep_hours=keep_hours, keep_prompts_days=keep_prompts_days)
    return MaintenanceRoom(
        keeper=Keeper(services.store.database, (retention, audit, provider_checks), outages=services.outages),
        audit=audit,
        queue_audit=QueueAudit(services),
        provider_checks=provider_checks,
        retention=retention,
    )
