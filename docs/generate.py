"""Generates the blocks of docs/*.md that come from code and configuration; `--check` fails if any is out of date.

python -m docs.generate [--check]
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot.core.catalog import Catalog, Ceilings, Model
from bot.core.jobs import NEXT, Verb
from bot.core.routes import Endpoint, Number, Option, Switch, Words
from bot.observability import metrics as measured
from bot.sandbox import faults as sandbox
from bot.settings.settings import SHIPPED

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"
KINDS: Mapping[str, Mapping[str, str]] = {
    "before reading": sandbox.EARLY,
    "instead of the work": sandbox.INSTEAD,
    "after the work": sandbox.AFTER,
    "status and result": sandbox.PROGRESS,
    "result": sandbox.OUTCOME,
    "cancel": sandbox.CANCEL,
    "file": sandbox.FILE,
    "search": sandbox.SEARCH,
    "callback": sandbox.CALLBACK,
}


def states() -> Iterator[str]:
    """The state diagram of a job, from `NEXT`."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> accepted"
    for state, after in NEXT.items():
        for each in sorted(after):
            yield f"    {state} --> {each}"
        if not after:
            yield f"    {state} --> [*]"
    yield "```"


def settings() -> Iterator[str]:
    """A table for each section of bot/config/darkroom.toml: its keys, defaults and comments."""
    section, documented = "", set()
    for line in SHIPPED.read_text().splitlines():
        if found := re.match(r"\[(\w+)\](?:\s+# (.*))?$", line):
            section, about = found.groups()
            yield f"\n### `[{section}]`\n"
            if about:
                yield f"{about[0].upper()}{about[1:]}.\n"
            yield "| key | default | environment | |\n| --- | --- | --- | --- |"
        elif section and (found := re.match(r"(?:# )?(\w+) = (.*?)(?:\s+# (.*))?$", line)):
            key, default, about = found.groups()
            documented.add((section, key))
            variable = f"DARKROOM_{section.upper()}__{key.upper()}"
            about = (about or "").removeprefix(f"{variable}; ")
            yield f"| `{key}` | `{default}` | `{variable}` | {about} |"
    defined = {(name, key) for name, keys in tomllib.loads(SHIPPED.read_text()).items() for key in keys}
    if missing := defined - documented:
        raise SystemExit(f"{SHIPPED.name}: not on a line of their own: {sorted(missing)}")


def models() -> Iterator[str]:
    """Options, routes and prices of each model in the shipped catalogue, under the shipped ceilings."""
    catalog = Catalog.model_validate(tomllib.loads((SHIPPED.parent / "models.toml").read_text()))
    for key, model in catalog.models.items():
        default = "; the default" if key == catalog.default else ""
        yield f"\n### {model.name}\n\n`{key}`: {model.about}{default}.\n"
        yield from _prices(model)
        for verb in Verb:
            if (endpoint := model.endpoint(verb)) is not None:
                routes = ", ".join(f"`{route.id}` at {route.provider}" for route in endpoint.routes)
                yield f"\n`/{verb}`: {routes}\n"
                yield "| option | values | default | only at |\n| --- | --- | --- | --- |"
                for name, spec in endpoint.options:
                    if spec is not None:
                        values, usual = _values_and_default(name, spec, catalog.ceilings)
                        yield f"| `{name}` | {values} | {usual} | {_only_at(endpoint, name, spec)} |"
                if endpoint.references:
                    yield f"| pictures | 1 to {endpoint.references} | | |"


def styles() -> Iterator[str]:
    """The styles of the shipped catalogue."""
    catalog = Catalog.model_validate(tomllib.loads((SHIPPED.parent / "models.toml").read_text()))
    yield "| style | | words before and after the prompt |\n| --- | --- | --- |"
    for each in catalog.styles.values():
        yield f"| {each.name} | {each.about} | {each.before} … {each.after} |".replace("|  …", "| …")


def _prices(model: Model) -> Iterator[str]:
    mark = " (estimate)" if model.price.estimated else ""
    yield f"| resolution | price per picture{mark} | typical time |\n| --- | --- | --- |"
    for name, factor in (model.price.resolution or {"any": Decimal(1)}).items():
        low, high = model.usual.get(name, (0, 0))
        yield f"| {name} | ${model.price.per_image * factor:.2f} | {f'{low} to {high} s' if high else ''} |"
    more = {f"thinking {level}": dollars for level, dollars in model.price.thinking.items()}
    more |= {"web_search": model.price.web_search} if model.price.web_search else {}
    if more:
        yield f"\nAdded per picture: {', '.join(f'`{name}` ${dollars}' for name, dollars in more.items())}."


def _values_and_default(name: str, spec: Option, ceilings: Ceilings) -> tuple[str, str]:
    match spec:
        case Words():
            return " ".join(spec.choices), spec.default
        case Number():
            high = min(spec.max, ceilings.max_safety) if name == "safety" else spec.max
            default = "random for each job" if spec.default is None else str(min(spec.default, high))
            return f"{spec.min} to {high}", default
        case Switch() if name == "web_search" and not ceilings.web_search:
            return "disabled by `ceilings.web_search`", "no"
        case Switch():
            return "yes, no", "yes" if spec.default else "no"


def _only_at(endpoint: Endpoint, name: str, spec: Option) -> str:
    """The providers that alone support an option, or some of its choices; empty if all support all of it."""
    routes = [each for each in endpoint.routes if name in each.fields]
    if len(routes) < len(endpoint.routes):
        return ", ".join(each.provider for each in routes)
    choices_by_providers: dict[str, list[str]] = {}
    for choice in spec.choices if isinstance(spec, Words) else ():
        providers = [each.provider for each in routes if each.supports(name, choice, default=None)]
        if len(providers) < len(routes):
            choices_by_providers.setdefault(", ".join(providers), []).append(choice)
    return "; ".join(f"{' '.join(choices)}: {providers}" for providers, choices in choices_by_providers.items())


def commands() -> Iterator[str]:
    """Members' commands and options with the descriptions that Discord shows."""
    descriptions = tomllib.loads((SHIPPED.parent / "locales" / "en.toml").read_text())["command"]
    yield "| command | |\n| --- | --- |"
    for name in (
        "imagine",
        "edit",
        "tray",
        "history",
        "favorites",
        "show",
        "preferences",
        "privacy",
        "jobs",
        "usage",
        "help",
    ):
        yield f"| `/{name}` | {descriptions[name]} |"
    yield f"| `/style list` | {descriptions['style']['list']} |"
    for menu in ("edit_menu", "tray_menu"):
        yield f"| *{descriptions[menu]}* | in the menu of any message with pictures, under *Apps* |"
    yield f"| *{descriptions['avatar_menu']}* | in the menu of any member, under *Apps* |"
    yield "\n| option | |\n| --- | --- |"
    for name, about in descriptions["option"].items():
        yield f"| `{name}` | {about} |"


def admin_commands() -> Iterator[str]:
    """Admin commands with the descriptions that Discord shows."""
    descriptions = tomllib.loads((SHIPPED.parent / "locales" / "en.toml").read_text())["command"]
    yield "| command | |\n| --- | --- |"
    for group in ("quota", "settings", "moderate"):
        yield from _listed(group, descriptions[group])
    yield from _listed("style", {name: about for name, about in descriptions["style"].items() if name != "list"})
    yield f"| *{descriptions['takedown_menu']}* | in the menu of the bot's messages with results, under *Apps* |"
    yield f"| `/status` | {descriptions['status']} |"


def _listed(path: str, descriptions: Mapping[str, Any]) -> Iterator[str]:
    for name, about in descriptions.items():
        if isinstance(about, str) and name != "about":
            yield f"| `/{path} {name}` | {about} |"
        elif not isinstance(about, str):
            yield from _listed(f"{path} {name}", about)


def faults() -> Iterator[str]:
    """Faults of the local image service."""
    yield "| when | fault | |\n| --- | --- | --- |"
    for when, kind in KINDS.items():
        for name, about in kind.items():
            yield f"| {when} | `{name}` | {about} |"


def metrics() -> Iterator[str]:
    """Every metric of /metrics."""
    yield "| name | kind | labels | |\n| --- | --- | --- | --- |"
    for each in (*measured.MEASURED, *measured.READ):
        yield f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"


PAGES: dict[str, dict[str, Callable[[], Iterator[str]]]] = {
    "docs/jobs.md": {"states": states},
    "docs/configuration.md": {"settings": settings},
    "docs/models.md": {"models": models, "styles": styles},
    "docs/commands.md": {"commands": commands, "admin commands": admin_commands},
    "docs/sandbox.md": {"faults": faults},
    "docs/metrics.md": {"metrics": metrics},
}


def renewed(text: str, parts: dict[str, Callable[[], Iterator[str]]]) -> str:
    """*text* with the block of each part regenerated."""
    for name, write in parts.items():
        begin = BEGIN.format(name)
        before, marker, rest = text.partition(begin)
        if not marker or END not in rest:
            raise SystemExit(f"no markers for {name}")
        text = f"{before}{begin}\n{chr(10).join(write())}\n{END}{rest.partition(END)[2]}"
    return text


def main() -> int:
    stale = []
    for page, parts in PAGES.items():
        path = ROOT / page
        old = path.read_text()
        new = renewed(old, parts)
        if new != old:
            stale.append(page)
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        print(f"out of date, run `make docs`: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
