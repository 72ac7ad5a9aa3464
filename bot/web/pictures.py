"""Sends a stored picture piece by piece, so that a slow client holds neither memory nor a connection to the storage."""

import logging

from aiohttp import web

from bot.files.storage import PictureStorage

log = logging.getLogger(__name__)

PIECE = 4 * 1024 * 1024  # bytes


async def send(request: web.Request, storage: PictureStorage, *, name: str, type: str) -> web.StreamResponse:  # noqa: A002
    """Answer with the picture, or with the one range of bytes that the request asks for; 404 if it is not stored."""
    found = await storage.find(name)
    if found is None:
        raise web.HTTPNotFound
    etag = f"{found.written_at:x}-{found.size:x}"
    headers = {
        "Content-Type": f"image/{type}",
        "Content-Disposition": f'inline; filename="{name.rpartition("/")[2]}"',
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": f'"{etag}"',
    }
    if any(each.value in (etag, "*") for each in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    start, end = _range(request, found.size, etag=etag)
    is_part = (start, end) != (0, found.size)
    if is_part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    response = web.StreamResponse(status=206 if is_part else 200, headers=headers)
    response.content_length = end - start
    first = await storage.read_part(name, start=start, end=min(end, start + PIECE))
    if first is None:
        raise web.HTTPNotFound
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            await _write(response, storage, name=name, first=first, start=start, end=end)
        except OSError as exc:  # the client has left or the storage fails: only a broken connection can say so now
            log.info("A picture was not sent to its end: %s", exc, extra={"event": "picture_cut"})
            if request.transport is not None:
                request.transport.abort()
    return response


def _range(request: web.Request, size: int, *, etag: str) -> tuple[int, int]:
    """The first byte to send, and the one after the last. One range is understood; all else means the whole picture."""
    if request.headers.get("If-Range", f'"{etag}"') != f'"{etag}"':
        return 0, size
    try:
        start, end, _ = request.http_range.indices(size)
    except ValueError:
        return 0, size
    if start >= end:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, end


async def _write(
    response: web.StreamResponse, storage: PictureStorage, *, name: str, first: bytes, start: int, end: int
) -> None:
    await response.write(first)
    for at in range(start + PIECE, end, PIECE):
        piece = await storage.read_part(name, start=at, end=min(end, at + PIECE))
        if piece is None:
            raise FileNotFoundError(f"{name} was deleted meanwhile")
        await response.write(piece)
    await response.write_eof()
