"""The CDN of the local Discord: files, and signed links that expire after a day."""

import hashlib
import hmac
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from PIL import Image

Json = dict[str, Any]
LINK_LIFETIME = 24 * 3600  # seconds; observed, not documented by Discord


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file. Discord derives the type from the name, not from the bytes."""

    filename: str
    data: bytes
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A stored file. *folder* is `attachments`, `ephemeral-attachments` or `external`; *channel_id* is in its URL."""

    id: int
    folder: str
    channel_id: int
    filename: str
    data: bytes
    content_type: str
    width: int | None
    height: int | None
    description: str | None = None

    @property
    def path(self) -> str:
        return f"/{self.folder}/{self.channel_id}/{self.id}/{quote(self.filename)}"


class Cdn:
    def __init__(self, now: Callable[[], float]) -> None:
        self.host = ""  # host:port, known once the server listens
        self._now = now
        self._key = b"cdn signing key"
        self._files: dict[str, File] = {}

    def keep(
        self, upload: Upload, *, file_id: int, channel_id: int, folder: str = "attachments", alt: str | None = None
    ) -> File:
        kind = upload.content_type or mimetypes.guess_type(upload.filename)[0] or "application/octet-stream"
        width, height = measure(upload.data) if kind.startswith("image/") else (None, None)
        file = File(file_id, folder, channel_id, upload.filename, upload.data, kind, width, height, alt)
        self._files[unquote(file.path)] = file
        return file

    def link(self, file: File) -> str:
        """A newly signed link; links of embeds' proxied pictures do not expire, as at Discord."""
        if file.folder == "external":
            return f"http://{self.host}{file.path}"
        issued = int(self._now())
        until = issued + LINK_LIFETIME
        return f"http://{self.host}{file.path}?ex={until:x}&is={issued:x}&hm={self._sign(file.path, until, issued)}"

    def find(self, url: str) -> File | None:
        """The file for a URL of this CDN, even if its signature is invalid or expired."""
        parts = urlsplit(url)
        return self._files.get(unquote(parts.path)) if parts.netloc == self.host else None

    def fetch(self, path: str, query: Mapping[str, str]) -> File | None:
        """The file for a link; None if it is unsigned, forged or expired."""
        file = self._files.get(unquote(path))
        if file is None or file.folder == "external":
            return file
        try:
            until, issued = int(query["ex"], 16), int(query["is"], 16)
        except (KeyError, ValueError):
            return None
        genuine = hmac.compare_digest(self._sign(file.path, until, issued).encode(), query.get("hm", "").encode())
        return file if genuine and self._now() < until else None

    def _sign(self, path: str, until: int, issued: int) -> str:
        return hmac.new(self._key, f"{path}{until:x}{issued:x}".encode(), hashlib.sha256).hexdigest()

    def attachment(self, file: File) -> Json:
        link = self.link(file)
        payload: Json = {
            "id": str(file.id),
            "filename": file.filename,
            "size": len(file.data),
            "url": link,
            "proxy_url": link,
            "content_type": file.content_type,
            "content_scan_version": 0,
        }
        if file.width is not None:
            payload |= {"width": file.width, "height": file.height, "placeholder_version": 1}
        if file.folder == "ephemeral-attachments":
            payload["ephemeral"] = True
        if file.description is not None:
            payload["description"] = file.description
        return payload

    def media(self, file: File, *, attached: bool) -> Json:
        """The media object of a component's file: its URL, and what Discord knows about it."""
        link = self.link(file)
        return {
            "id": str(file.id),
            "url": link,
            "proxy_url": link,
            "width": file.width,
            "height": file.height,
            "content_type": file.content_type,
            "loading_state": 2,
            "flags": 0,
            **({"attachment_id": str(file.id)} if attached else {}),
        }


def measure(data: bytes) -> tuple[int, int] | tuple[None, None]:
    try:
        with Image.open(BytesIO(data)) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return (None, None)
