"""Builds everything once, hands it what it needs, runs it, and stops it in order."""

import asyncio
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from bot.collector import Collector
from bot.core.catalog import Catalog
from bot.core.jobs import Reference
from bot.delivery import Delivery
from bot.janitor import Janitor, remove_files
from bot.looker import Looker
from bot.pictures import guard
from bot.pictures.pool import PicturePool
from bot.providers import http
from bot.providers.base import Provider
from bot.providers.download import Downloader
from bot.providers.runcomfy import RunComfy
from bot.service import Bells, Clock, Service
from bot.settings import Settings
from bot.steps import Steps
from bot.store.desk import Desk
from bot.store.sqlite import RunningLock, SqliteDatabase
from bot.store.store import Store
from bot.ui.access import Access
from bot.ui.client import DarkroomClient
from bot.ui.gateway import stay_connected
from bot.ui.operator import OperatorChannel
from bot.ui.replies import DiscordMessenger
from bot.ui.texts import Texts, load
from bot.web import server
from bot.web.health import Health, Pulse
from bot.worker import Worker

log = logging.getLogger(__name__)

DRAIN = 8.0  # seconds that replies get to go out when the program is told to stop
HOST_NAMES = {"runcomfy": "RunComfy"}


def steady_clock() -> Clock:
    """UTC milliseconds that never jump: this process's start by the wall clock, then the monotonic one."""
    offset = time.time() - time.monotonic()
    return lambda: int((offset + time.monotonic()) * 1000)
