"""Draws the local image service's pictures: a scene from the seed, with the request as caption.

Pure and slow (tens of milliseconds for 1K, hundreds for 4K): call it from a thread.
"""

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps, UnidentifiedImageError

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

LONGEST = {"0.5K": 512, "1K": 1024, "2K": 2048, "4K": 4096}
CANVAS = 1536  # pixels: scenes are drawn at most this large and scaled; only text is drawn at full size
PALETTES: Sequence[Sequence[str]] = (  # sky above, sky below, light, then land from far to near
    ("#1b2a5c", "#f7a072", "#ffe3b3", "#b5607a", "#6d3b6b", "#2c1e4a"),
    ("#0b3d5c", "#8fd3d1", "#fff6d6", "#4f9da6", "#276678", "#12394b"),
    ("#3a1c5d", "#ff7e8b", "#ffd6a5", "#a23e7a", "#63286b", "#2b1448"),
    ("#f6d5a8", "#fbf0dc", "#e8743b", "#d8a26b", "#8a6a4f", "#45392f"),
    ("#0d1b2a", "#3e7cb1", "#e0fbfc", "#41729f", "#274472", "#101d33"),
    ("#5f8f6b", "#f2e8c9", "#fffdf0", "#8db580", "#4c7c5c", "#23483b"),
    ("#c9537a", "#fbd786", "#fff4d2", "#e0796b", "#8e4162", "#432347"),
    ("#16324f", "#b8a1d9", "#ffe8f0", "#7d6bb0", "#4a4583", "#1f2350"),
)


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """Parameters of one picture. *seed* is None for models without one; *salt* then distinguishes runs."""

    prompt: str
    model: str
    resolution: str = "1K"
    aspect_ratio: str = "auto"
    format: str = "png"
    seed: int | None = None
    number: int = 1
    count: int = 1
    salt: str = ""
    references: tuple[bytes, ...] = ()
    scale: float = 1.0  # of the size asked for


class Unreadable(Exception):
    """A reference is not a picture."""


def check_reference(raw: bytes) -> None:
    """Raise `Unreadable` unless *raw* is a complete picture that fits in memory."""
    _open(raw)


def draw(request: DrawRequest) -> bytes:
    """Return the picture as a file in the requested format."""
    references = [_open(each) for each in request.references]
    size = _size(request, references)
    rng = random.Random(f"{request.seed}/{request.salt}/{request.number}")
    palette = [_rgb(each) for each in rng.choice(PALETTES)]
    scene = _scaled(size, max_side=CANVAS)
    picture = _edited(scene, references, palette=palette) if references else _painted(scene, palette, rng)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    _caption(picture, request, light=palette[2])
    return _encode(picture, request.format)


def noise(size_mb: float) -> bytes:
    """Return a valid, incompressible PNG of about *size_mb* megabytes."""
    side = max(1, math.ceil(math.sqrt(size_mb * 1_000_000 / 3)))
    picture = Image.frombytes("RGB", (side, side), random.Random(side).randbytes(side * side * 3))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=0)
    return file.getvalue()


def _size(request: DrawRequest, references: Sequence[Image.Image]) -> tuple[int, int]:
    if request.aspect_ratio == "auto":
        ratio = references[0].width / references[0].height if references else 1.0
        ratio = min(max(ratio, 0.25), 4.0)
    else:
        across, down = request.aspect_ratio.split(":")
        ratio = int(across) / int(down)
    longest = round(LONGEST[request.resolution] * request.scale)
    return (longest, round(longest / ratio)) if ratio >= 1 else (round(longest * ratio), longest)


def _scaled(size: tuple[int, int], *, max_side: int) -> tuple[int, int]:
    factor = min(1.0, max_side / max(size))
    return round(size[0] * factor), round(size[1] * factor)


def _painted(size: tuple[int, int], palette: Sequence[Colour], rng: random.Random) -> Image.Image:
    """Draw a scene; small ones are drawn at twice the size and shrunk, for smooth edges."""
    large = (size[0] * 2, size[1] * 2) if max(size) <= 1024 else size
    picture = _gradient(large, palette[0], palette[1])
    if rng.random() < 0.7 or sum(palette[1]) > 650:  # too bright for the bubbles
        _stars(picture, palette, rng)
        _light(picture, palette[2], rng)
        _ridges(picture, palette, rng)
    else:
        _bubbles(picture, palette, rng)
    return picture.resize(size, Image.Resampling.BOX) if large != size else picture


def _gradient(size: tuple[int, int], above: Colour, below: Colour) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    return ImageOps.colorize(ramp, above, below)


def _light(picture: Image.Image, colour: Colour, rng: random.Random) -> None:
    """A sun or a moon with a glow around it."""
    width, height = picture.size
    radius = int(min(width, height) * rng.uniform(0.08, 0.14))
    x, y = int(width * rng.uniform(0.2, 0.8)), int(height * rng.uniform(0.2, 0.4))
    glow = radius * 5
    halo = ImageOps.invert(Image.radial_gradient("L")).resize((glow * 2, glow * 2), Image.Resampling.BILINEAR)
    picture.paste(colour, (x - glow, y - glow), halo.point([max(0, each - 75) ** 2 // 250 for each in range(256)]))
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _stars(picture: Image.Image, palette: Sequence[Colour], rng: random.Random) -> None:
    if sum(palette[0]) > 300:
        return
    canvas, (width, height) = ImageDraw.Draw(picture), picture.size
    for _ in range(90):
        x, y = rng.uniform(0, width), height * 0.45 * rng.random() ** 1.4
        radius = max(width, height) / 1024 * rng.uniform(0.5, 1.6)
        colour = _mix(palette[0], palette[2], rng.uniform(0.3, 0.9))
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _ridges(picture: Image.Image, palette: Sequence[Colour], rng: random.Random) -> None:
    """Ranges of hills, each nearer and darker than the one before."""
    canvas, (width, height) = ImageDraw.Draw(picture), picture.size
    layers = 6
    for layer in range(layers):
        near = layer / (layers - 1)
        base = height * (0.46 + 0.42 * near)
        waves = [
            (height * 0.1 / (octave**1.25) * (1.15 - 0.6 * near), octave * rng.uniform(0.8, 1.4), rng.uniform(0, 6.28))
            for octave in (1, 2, 4, 9, 19)
        ]
        line = []
        for step in range(257):
            x = step / 256
            line.append((x * width, base + sum(a * math.sin(f * x * 6.28 + p) for a, f, p in waves)))
        canvas.polygon([(0, height), *line, (width, height)], fill=_along(palette[3:], near, haze=palette[1]))


def _bubbles(picture: Image.Image, palette: Sequence[Colour], rng: random.Random) -> None:
    """Discs of light, some with a rim, that shine through one another."""
    width, height = picture.size
    veil = Image.new("RGB", (width, height))
    for _ in range(34):
        radius = max(width, height) * rng.uniform(0.02, 0.17) ** 1.1
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        disc = Image.new("L", (math.ceil(radius * 2) + 1,) * 2)
        pen, level = ImageDraw.Draw(disc), rng.randrange(30, 110)
        pen.ellipse(
            (0, 0, radius * 2, radius * 2), fill=level, outline=min(255, level + 60), width=max(1, int(radius / 40))
        )
        veil.paste(rng.choice(palette[1:4]), (int(x - radius), int(y - radius)), disc)
    picture.paste(ImageChops.screen(picture, veil))


def _edited(size: tuple[int, int], references: Sequence[Image.Image], *, palette: Sequence[Colour]) -> Image.Image:
    """The given pictures as framed prints, tinted, before a blurred copy of the first."""
    width, height = size
    small = ImageOps.fit(references[0], (max(1, width // 16), max(1, height // 16)))
    back = small.filter(ImageFilter.GaussianBlur(3)).resize(size, Image.Resampling.BICUBIC)
    picture = Image.blend(back, _gradient(size, palette[0], palette[-1]), 0.6)
    columns = math.ceil(math.sqrt(len(references) * width / height))
    columns = min(max(columns, 1), len(references))
    rows = math.ceil(len(references) / columns)
    room = (width * 0.9, height * 0.74)
    for index, reference in enumerate(references):
        row, column = divmod(index, columns)
        cell = (room[0] / columns, room[1] / rows)
        empty = columns - min(columns, len(references) - row * columns)  # the last row stands in the middle
        centre = (width * 0.05 + cell[0] * (column + empty / 2 + 0.5), height * 0.04 + cell[1] * (row + 0.5))
        _print(picture, reference, centre=centre, cell=cell, palette=palette)
    return picture


def _print(
    picture: Image.Image,
    reference: Image.Image,
    *,
    centre: tuple[float, float],
    cell: tuple[float, float],
    palette: Sequence[Colour],
) -> None:
    """One tinted print with a white border and a soft shadow."""
    border = max(2, int(min(cell) * 0.025))
    fitted = ImageOps.contain(reference, (max(8, int(cell[0] - border * 6)), max(8, int(cell[1] - border * 6))))
    tint = ImageOps.colorize(ImageOps.autocontrast(fitted.convert("L")), palette[-1], palette[2], mid=palette[3])
    framed = ImageOps.expand(Image.blend(fitted, tint, 0.5), border, fill=(250, 248, 243))
    left, top = int(centre[0] - framed.width / 2), int(centre[1] - framed.height / 2)
    margin = border * 3
    shadow = Image.new("L", (framed.width + margin * 2, framed.height + margin * 2))
    shadow.paste(150, (margin, margin, margin + framed.width, margin + framed.height))
    shadow = shadow.filter(ImageFilter.GaussianBlur(border * 1.2))
    picture.paste((8, 8, 14), (left - margin, top - margin + border), shadow)
    picture.paste(framed, (left, top))


def _caption(picture: Image.Image, request: DrawRequest, *, light: Colour) -> None:
    """A dark plate at the foot: the prompt, and below it what the picture was made with."""
    width, height = picture.size
    unit = min(width, height, max(width, height) * 0.62)
    text, small = max(11, int(unit * 0.044)), max(10, int(unit * 0.03))
    margin, padding = int(unit * 0.035), int(unit * 0.04)
    room = width - 2 * (margin + padding)
    prompt = _font(text, request.prompt)
    lines = _wrapped(request.prompt, prompt, room=room, max_lines=3)
    details = _wrapped(_details(request, picture.size), _font(small, ""), room=room, max_lines=2)
    inside = len(lines) * text * 1.3 + text * 0.35 + len(details) * small * 1.35
    box = (margin, int(height - margin - 2 * padding * 0.8 - inside), width - margin, height - margin)
    _plate(picture, box, radius=int(unit * 0.03))
    canvas, y = ImageDraw.Draw(picture), box[1] + padding * 0.8
    for line in lines:
        canvas.text((margin + padding, y), line, font=prompt, fill=(255, 255, 255))
        y += text * 1.3
    y += text * 0.35
    for line in details:
        canvas.text((margin + padding, y), line, font=_font(small, ""), fill=_mix(light, (255, 255, 255), 0.6))
        y += small * 1.35


def _plate(picture: Image.Image, box: tuple[int, int, int, int], *, radius: int) -> None:
    size = (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
    mask = Image.new("L", (size[0] * 2, size[1] * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] * 2 - 1, size[1] * 2 - 1), radius * 2, fill=165)
    picture.paste((12, 13, 22), box[:2], mask.resize(size, Image.Resampling.BOX))


def _details(request: DrawRequest, size: tuple[int, int]) -> str:
    parts = [request.model]
    if request.seed is not None:
        parts.append(f"seed {request.seed}")
    parts.append(f"{request.resolution} {size[0]} x {size[1]}")
    parts.append(f"{request.number} of {request.count}")
    return "  ·  ".join(parts)


def _wrapped(text: str, font: Font, *, room: float, max_lines: int) -> list[str]:
    """*text* in at most *max_lines* lines that fit in *room*; words that do not fit are cut."""
    lines, line = [], ""
    for word in text[:600].split() or [""]:
        joined = f"{line} {word}".strip()
        if line and font.getlength(joined) > room:
            lines.append(line)
            line = word
        else:
            line = joined
    lines.append(line)
    shown = lines[:max_lines]
    if len(lines) > max_lines:
        shown[-1] += " …"
    return [_cut(each, font, room=room) for each in shown]


def _cut(line: str, font: Font, *, room: float) -> str:
    while len(line) > 2 and font.getlength(line) > room:
        line = line.removesuffix("…").rstrip()[:-1] + "…"
    return line


@lru_cache(maxsize=64)
def _face(size: int, *, wide: bool) -> Font:
    if wide:  # the built-in face has Latin letters only
        try:
            return ImageFont.truetype("DejaVuSans.ttf", size)
        except OSError:
            pass
    return ImageFont.load_default(size)


def _font(size: int, text: str) -> Font:
    return _face(size, wide=any(ord(each) > 0x17F and not 0x2010 <= ord(each) <= 0x2026 for each in text))


def _encode(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "png":
        picture.save(file, "PNG", compress_level=4)
    else:
        picture.save(file, kind.upper(), quality=88)
    return file.getvalue()


def _open(raw: bytes) -> Image.Image:
    """The picture upright, in RGB, and no larger than a canvas."""
    try:
        with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG", "WEBP", "GIF")) as opened:
            opened.draft("RGB", (CANVAS, CANVAS))
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as exc:
        raise Unreadable("not a picture") from exc
    picture.thumbnail((CANVAS, CANVAS))
    return picture


def _along(colours: Sequence[Colour], place: float, *, haze: Colour) -> Colour:
    """The colour at *place* (0 far, 1 near) of a run of colours, far ones in the haze of the sky."""
    at = place * (len(colours) - 1)
    index = min(int(at), len(colours) - 2)
    return _mix(_mix(colours[index], colours[index + 1], at - index), haze, 0.35 * (1 - place))


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _rgb(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
