"""Builds the web server: health, metrics, pictures, callbacks and interactions."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from bot.core.circuit_breaker import Mode
from bot.files.storage import PictureStorage
from bot.jobs.build import Services
from bot.observability.metrics import Metrics
from bot.web import server
from bot.web.callbacks import CallbackLinks, Callbacks
from bot.web.health import Health, Pulse
from bot.web.interactions import PATH as INTERACTIONS
from bot.web.interactions import Interactions
from bot.web.metrics import Page
from bot.web.server import PictureLinks


@dataclass(frozen=True, slots=True)
class Probes:
    """What health and metrics read from the other rooms."""

    heartbeat_age: Callable[[], float | None]  # seconds since Discord last answered; None while not connected
    accepts_requests: Callable[[], bool]
    overdue: Callable[[], Awaitable[float]]  # seconds by which the oldest due job is late
    audit: Callable[[], Mapping[str, int]]  # what the last audit found, by kind
    balances: Callable[[], Mapping[str, int]]  # micro-dollars by provider, where known
    mode: Callable[[str], Mode]  # of a provider's circuit breaker


@dataclass(frozen=True, slots=True)
class WebRoom:
    site: web.Application
    pulse: Pulse


def build(
    services: Services,
    probes: Probes,
    *,
    providers: Sequence[str],
    picture_links: PictureLinks,
    callback_links: CallbackLinks | None,
    webhook_secrets: Sequence[str],
    interactions: Interactions | None,
    metrics: Metrics,
    metrics_token: str,
    storage: PictureStorage,
) -> WebRoom:
    """*callback_links*: None where no provider can call back.

    *interactions*: the endpoint for Discord, None where the gateway delivers them.
    *webhook_secrets*: those that Runflow may sign with. *metrics_token*: what opens /metrics.
    """
    outages, pulse = services.outages, Pulse(metrics.loop_lag)
    health = Health(
        pulse=pulse,
        heartbeat_age=probes.heartbeat_age,
        overdue=probes.overdue,
        writable=services.store.database.writable,
        accepts_requests=probes.accepts_requests,
        outages=lambda: outages.current,
        unsafe=lambda: outages.unsafe,
    )
    page = Page(metrics, services, providers=providers, audit=probes.audit, balances=probes.balances, mode=probes.mode)
    callbacks = None
    if callback_links is not None:
        callbacks = Callbacks(services, links=callback_links, secrets=webhook_secrets, count=metrics.callback)
    site = server.build(
        services,
        health=health.report,
        unready=health.unready,
        metrics=page.text,
        links=picture_links,
        storage=storage,
        callbacks=callbacks,
        metrics_token=metrics_token,
    )
    if interactions is not None:
        site.router.add_post(INTERACTIONS, interactions.post)
    return WebRoom(site, pulse)
