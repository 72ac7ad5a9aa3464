"""Discord's validation of messages and forms: pure checks of bodies, with its error codes and paths."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

V2 = 1 << 15
EPHEMERAL = 1 << 6
LOADING = 1 << 7
MAX_COMPONENTS = 40
MAX_TEXT_LENGTH = 4000
MAX_REQUEST_BYTES = 25 * 1024 * 1024
V2_ONLY = frozenset({9, 10, 11, 12, 13, 14, 17})
TOP_V2 = frozenset({1, 9, 10, 12, 13, 14, 17})
IN_CONTAINER = frozenset({1, 9, 10, 12, 13, 14})
IN_LABEL = frozenset({3, 4, 5, 6, 7, 8, 19, 21, 22, 23})
SELECTS = frozenset({3, 5, 6, 7, 8})


class Refused(Exception):
    """A refused request: an HTTP status and a JSON error code."""

    def __init__(self, status: int, code: int, message: str, *, errors: Json | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.body: Json = {"message": message, "code": code} | ({"errors": errors} if errors else {})


def invalid(path: str, why: str) -> Refused:
    """50035 with *why* at *path* (`components.0.items.1`), nested as Discord nests it."""
    errors: Json = {"_errors": [{"code": "BASE_TYPE_INVALID", "message": why}]}
    for key in reversed(path.split(".")):
        errors = {key: errors}
    return Refused(400, 50035, "Invalid Form Body", errors=errors)


def children(component: Json) -> list[tuple[str, Json]]:
    """A component's children, each with its path."""
    items = [(f"components.{n}", each) for n, each in enumerate(component.get("components") or [])]
    items += [(key, component[key]) for key in ("accessory", "component") if component.get(key)]
    return items


def walk(components: Sequence[Json], at: str = "components") -> Iterator[tuple[str, Json]]:
    for n, component in enumerate(components):
        yield from _walk(component, f"{at}.{n}")


def _walk(component: Json, at: str) -> Iterator[tuple[str, Json]]:
    yield at, component
    for key, child in children(component):
        yield from _walk(child, f"{at}.{key}")


def media_of(component: Json) -> list[tuple[str, Json]]:
    """The media items of a component, each with its path."""
    match component.get("type"):
        case 12:
            return [
                (f"items.{n}.media", item.get("media") or {}) for n, item in enumerate(component.get("items") or [])
            ]
        case 11:
            return [("media", component.get("media") or {})]
        case 13:
            return [("file", component.get("file") or {})]
    return []


def check_message(body: Mapping[str, Any], *, filenames: frozenset[str]) -> None:
    """Raise `Refused` for a message that Discord would not accept. *body* is the resulting message."""
    components: list[Json] = body.get("components") or []
    v2 = bool(body.get("flags", 0) & V2)
    if len(body.get("content") or "") > 2000:
        raise invalid("content", "Must be 2000 or fewer in length.")
    if len(body.get("embeds") or []) > 10:
        raise invalid("embeds", "Must be 10 or fewer in length.")
    if v2 and (body.get("content") or body.get("embeds") or body.get("poll")):
        raise invalid("content", "The 'content' field cannot be used when using MessageFlags.IS_COMPONENTS_V2")
    _check_top(components, v2=v2)
    _check_totals(components)
    for at, component in walk(components):
        _check_component(at, component)
        for key, media in media_of(component):
            _check_media(f"{at}.{key}", str(media.get("url") or ""), filenames)


def _check_top(components: list[Json], *, v2: bool) -> None:
    allowed = TOP_V2 if v2 else frozenset({1})
    for n, component in enumerate(components):
        if component.get("type") not in allowed:
            raise invalid(f"components.{n}.type", f"Value must be one of {sorted(allowed)}")
    if not v2 and len(components) > 5:
        raise invalid("components", "Must be 5 or fewer in length.")


def _check_totals(components: list[Json]) -> None:
    every = list(walk(components))
    if len(every) > MAX_COMPONENTS:
        raise invalid("components", f"The total number of components must be {MAX_COMPONENTS} or fewer")
    text = sum(len(each.get("content") or "") for _, each in every if each.get("type") == 10)
    if text > MAX_TEXT_LENGTH:
        raise invalid("components", f"The total length of all text must be {MAX_TEXT_LENGTH} or fewer")
    _check_custom_ids(every)


def _check_custom_ids(every: list[tuple[str, Json]]) -> None:
    used: set[str] = set()
    for at, component in every:
        custom_id = component.get("custom_id")
        if custom_id is None:
            continue
        if not 1 <= len(custom_id) <= 100:
            raise invalid(f"{at}.custom_id", "Must be between 1 and 100 in length.")
        if custom_id in used:
            raise invalid(f"{at}.custom_id", "Component custom id cannot be duplicated")
        used.add(custom_id)


def _check_component(at: str, component: Json) -> None:
    match component.get("type"):
        case 1:
            _check_row(at, component)
        case 2:
            _check_button(at, component)
        case 9:
            _check_section(at, component)
        case 10:
            _check_length(f"{at}.content", component.get("content"), limit=MAX_TEXT_LENGTH)
        case 11:
            _check_alt(at, component)
        case 12:
            _check_gallery(at, component.get("items") or [])
        case 17:
            _check_kinds(at, component, allowed=IN_CONTAINER, limit=MAX_COMPONENTS)


def _check_section(at: str, section: Json) -> None:
    _check_kinds(at, section, allowed=frozenset({10}), limit=3)
    if (section.get("accessory") or {}).get("type") not in {2, 11}:
        raise invalid(f"{at}.accessory", "This field is required")


def _check_gallery(at: str, items: list[Json]) -> None:
    if not 1 <= len(items) <= 10:
        raise invalid(f"{at}.items", "Must be between 1 and 10 in length.")
    for n, item in enumerate(items):
        _check_alt(f"{at}.items.{n}", item)


def _check_kinds(at: str, component: Json, *, allowed: frozenset[int], limit: int) -> None:
    items = component.get("components") or []
    if not 1 <= len(items) <= limit:
        raise invalid(f"{at}.components", f"Must be between 1 and {limit} in length.")
    for n, child in enumerate(items):
        if child.get("type") not in allowed:
            raise invalid(f"{at}.components.{n}.type", f"Value must be one of {sorted(allowed)}")


def _check_row(at: str, row: Json) -> None:
    items = row.get("components") or []
    selects = [each for each in items if each.get("type") in SELECTS]
    if selects and len(items) > 1:
        raise invalid(f"{at}.components", "A select fills its row")
    _check_kinds(at, row, allowed=frozenset({2, *SELECTS}), limit=5)


def _check_button(at: str, button: Json) -> None:
    needed = {5: "url", 6: "sku_id"}.get(button.get("style", 0), "custom_id")
    if not button.get(needed):
        raise invalid(f"{at}.{needed}", "This field is required")
    if len(button.get("url") or "") > 512:
        raise invalid(f"{at}.url", "Must be 512 or fewer in length.")
    if len(button.get("label") or "") > 80:
        raise invalid(f"{at}.label", "Must be 80 or fewer in length.")
    if button.get("style") != 6 and not button.get("label") and not button.get("emoji"):
        raise invalid(f"{at}.label", "A button needs a label or an emoji")


def _check_alt(at: str, item: Json) -> None:
    alt = item.get("description")
    if alt is not None:
        _check_length(f"{at}.description", alt, limit=1024)


def _check_length(at: str, text: str | None, *, limit: int) -> None:
    if not 1 <= len(text or "") <= limit:
        raise invalid(at, f"Must be between 1 and {limit} in length.")


def _check_media(at: str, url: str, filenames: frozenset[str]) -> None:
    if url.startswith("attachment://"):
        if url.removeprefix("attachment://") not in filenames:
            raise invalid(f"{at}.url", "The referenced attachment was not found")
    elif not url.startswith(("http://", "https://")):
        raise invalid(f"{at}.url", 'Scheme must be one of ("http", "https", "attachment").')


def check_modal(data: Json) -> None:
    """Raise `Refused` for a form that Discord would not open."""
    _check_length("data.title", data.get("title"), limit=45)
    _check_length("data.custom_id", data.get("custom_id"), limit=100)
    components: list[Json] = data.get("components") or []
    if not 1 <= len(components) <= 5:
        raise invalid("data.components", "Must be between 1 and 5 in length.")
    for at, component in walk(components, "data.components"):
        _check_form_item(at, component)
    _check_custom_ids(list(walk(components, "data.components")))


def _check_form_item(at: str, component: Json) -> None:
    top = at.count(".") == 2
    match component.get("type"):
        case 1:
            _check_kinds(at, component, allowed=frozenset({4}), limit=1)
        case 18:
            _check_length(f"{at}.label", component.get("label"), limit=45)
            if len(component.get("description") or "") > 100:
                raise invalid(f"{at}.description", "Must be 100 or fewer in length.")
            if (component.get("component") or {}).get("type") not in IN_LABEL:
                raise invalid(f"{at}.component.type", f"Value must be one of {sorted(IN_LABEL)}")
        case 10:
            _check_length(f"{at}.content", component.get("content"), limit=MAX_TEXT_LENGTH)
        case _ if top:
            raise invalid(f"{at}.type", "Value must be one of [1, 10, 18]")
        case 4:
            _check_text_input(at, component)


def _check_text_input(at: str, field: Json) -> None:
    limit = field.get("max_length") or MAX_TEXT_LENGTH
    if limit > MAX_TEXT_LENGTH:
        raise invalid(f"{at}.max_length", f"Must be {MAX_TEXT_LENGTH} or fewer")
    if len(field.get("value") or "") > limit:
        raise invalid(f"{at}.value", f"Must be {limit} or fewer in length.")
    if len(field.get("placeholder") or "") > 100:
        raise invalid(f"{at}.placeholder", "Must be 100 or fewer in length.")


def mentions_are_off(body: Mapping[str, Any]) -> bool:
    """Whether a message body mentions nobody; without the field Discord reads mentions from the text.

    The one exception is the member whose job has ended: the message begins with them.
    """
    allowed = body.get("allowed_mentions")
    if allowed is None or allowed.get("parse") != [] or allowed.get("roles"):
        return False
    texts = [str(each.get("content", "")) for each in body.get("components", []) if each.get("type") == 10]
    return all(any(text.startswith(f"<@{each}>, ") for text in texts) for each in allowed.get("users") or [])
