"""The catalogue file: errors are found at the start and reported with their key."""

import copy
import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core._pydantic_core import list_all_errors

from bot.core.catalog import Catalog
from bot.core.jobs import Verb
from bot.settings.settings import SHIPPED, Settings
from bot.settings.sources import BadSettings

TWO, PRO = ("models", "nano-banana-2"), ("models", "nano-banana-pro")
DROP = object()
FOREIGN = [str(each["message_template_python"]).partition("{")[0] for each in list_all_errors()]


def shipped() -> dict[str, Any]:
    return tomllib.loads(SHIPPED.with_name("models.toml").read_text(encoding="utf-8"))


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """The shipped catalogue with one value set or removed."""
    raw = copy.deepcopy(shipped())
    part: Any = raw
    for each in path[:-1]:
        part = part[each]
    if value is DROP:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return raw


def problem(raw: dict[str, Any]) -> tuple[str, str]:
    """Key and text of the first error in *raw*."""
    with pytest.raises(ValidationError) as caught:
        Catalog.model_validate(raw)
    first = caught.value.errors()[0]
    return ".".join(str(each) for each in first["loc"]), first["msg"]


def test_the_shipped_catalogue_has_both_models_for_both_verbs() -> None:
    catalog = Catalog.model_validate(shipped())
    for verb in Verb:
        assert list(catalog.models_for(verb)) == ["nano-banana-2", "nano-banana-pro"]


ROUTE = (*TWO, "imagine", "routes", 0)
WRONG: list[tuple[tuple[str | int, ...], object, str]] = [
    # missing
    (("price_version",), DROP, "price_version"),
    (("default",), DROP, "default"),
    (("models",), DROP, "models"),
    ((*TWO, "name"), DROP, "models.nano-banana-2.name"),
    ((*TWO, "price"), DROP, "models.nano-banana-2.price"),
    ((*TWO, "price", "per_image"), DROP, "models.nano-banana-2.price.per_image"),
    ((*TWO, "imagine", "routes"), DROP, "models.nano-banana-2.imagine.routes"),
    ((*ROUTE, "provider"), DROP, "models.nano-banana-2.imagine.routes.0.provider"),
    ((*ROUTE, "id"), DROP, "models.nano-banana-2.imagine.routes.0.id"),
    ((*ROUTE, "fields"), DROP, "models.nano-banana-2.imagine.routes.0.fields"),
    ((*ROUTE, "fields", "prompt"), DROP, "models.nano-banana-2.imagine"),
    ((*ROUTE, "fields", "seed"), DROP, "models.nano-banana-2.imagine"),
    ((*TWO, "edit", "routes", 0, "fields", "references"), DROP, "models.nano-banana-2.edit"),
    ((*TWO, "edit", "references"), DROP, "models.nano-banana-2"),
    ((*TWO, "options", "format", "choices"), DROP, "models.nano-banana-2.imagine.options.format.choices"),
    ((*TWO, "options", "format", "default"), DROP, "models.nano-banana-2.imagine.options.format.default"),
    ((*TWO, "options", "count", "max"), DROP, "models.nano-banana-2.imagine.options.count.max"),
    # empty
    (("price_version",), "", "price_version"),
    (("models",), {}, "models"),
    ((*TWO, "name"), "", "models.nano-banana-2.name"),
    ((*TWO, "imagine", "routes"), [], "models.nano-banana-2.imagine.routes"),
    ((*TWO, "options", "format"), {"choices": [], "default": "png"}, "models.nano-banana-2.imagine.options.format"),
    # defaults that are not possible
    (("default",), "nano-banana-3", ""),
    ((*TWO, "options", "resolution", "default"), "8K", "models.nano-banana-2.imagine.options.resolution"),
    ((*TWO, "options", "count", "default"), 5, "models.nano-banana-2.imagine.options.count"),
    ((*TWO, "options", "count", "default"), 0, "models.nano-banana-2.imagine.options.count"),
    ((*TWO, "options", "safety", "default"), 7, "models.nano-banana-2.imagine.options.safety"),
    # keys nobody knows
    (("modles",), {}, "modles"),
    (("ceilings", "max_saftey"), 3, "ceilings.max_saftey"),
    ((*TWO, "prise"), {}, "models.nano-banana-2.prise"),
    ((*TWO, "price", "per_megapixel"), "1", "models.nano-banana-2.price.per_megapixel"),
    ((*TWO, "timing", "frist"), 3, "models.nano-banana-2.timing.frist"),
    ((*TWO, "options", "colour"), {"default": True}, "models.nano-banana-2.imagine.options.colour"),
    ((*TWO, "options", "count", "step"), 2, "models.nano-banana-2.imagine.options.count.step"),
    ((*ROUTE, "url"), "https://x", "models.nano-banana-2.imagine.routes.0.url"),
    ((*ROUTE, "strings"), ["saftey"], "models.nano-banana-2.imagine"),
    ((*ROUTE, "without"), ["thinkign"], "models.nano-banana-2.imagine"),
    ((*ROUTE, "without"), ["thinking", "count"], "models.nano-banana-2.imagine"),
    ((*ROUTE, "lacks"), {"aspect_ratoi": ["4:1"]}, "models.nano-banana-2.imagine"),
    ((*ROUTE, "lacks"), {"aspect_ratio": ["5:1"]}, "models.nano-banana-2.imagine"),
    ((*ROUTE, "lacks"), {"aspect_ratio": ["auto"]}, "models.nano-banana-2.imagine"),
    ((*ROUTE, "lacks"), {"count": ["4"]}, "models.nano-banana-2.imagine"),
    ((*ROUTE, "omit"), {"thinkign": "off"}, "models.nano-banana-2.imagine"),
    ((*ROUTE, "omit"), {"resolution": "Off"}, "models.nano-banana-2.imagine"),
    ((*ROUTE, "price"), {"per_image": "NaN"}, "models.nano-banana-2.imagine.routes.0.price.per_image"),
    # values of another kind
    (("models",), [], "models"),
    (TWO, "fast", "models.nano-banana-2"),
    ((*TWO, "name"), "\u2800\u200b", "models.nano-banana-2"),
    ((*TWO, "name"), "nano banana\u00ad PRO", ""),  # looks like another
    ((*TWO, "name"), "x" * 61, "models.nano-banana-2.name"),
    ((*TWO, "price", "per_image"), "cheap", "models.nano-banana-2.price.per_image"),
    ((*TWO, "price", "per_image"), "NaN", "models.nano-banana-2.price.per_image"),
    ((*TWO, "price", "per_image"), float("nan"), "models.nano-banana-2.price.per_image"),
    ((*TWO, "price", "per_image"), "Infinity", "models.nano-banana-2.price.per_image"),
    ((*TWO, "price", "per_image"), True, "models.nano-banana-2.price.per_image"),
    ((*TWO, "price", "resolution", "2K"), "NaN", "models.nano-banana-2.price.resolution.2K"),
    ((*TWO, "price", "web_search"), "NaN", "models.nano-banana-2.price.web_search"),
    ((*TWO, "options", "count", "max"), "many", "models.nano-banana-2.imagine.options.count.max"),
    ((*TWO, "options", "count", "max"), 1.5, "models.nano-banana-2.imagine.options.count.max"),
    ((*TWO, "edit", "references"), 0, "models.nano-banana-2"),
    ((*TWO, "edit", "references"), 21, "models.nano-banana-2.edit.references"),
    ((*TWO, "usual", "1K"), [10], "models.nano-banana-2.usual.1K"),
    ((*TWO, "options", "format"), {"choices": ["x"] * 26, "default": "x"}, "models.nano-banana-2.imagine.options"),
    ((*ROUTE, "fixed", "limit_generations"), [True], "models.nano-banana-2.imagine.routes.0.fixed"),
    ((*ROUTE, "strings"), "safety", "models.nano-banana-2.imagine.routes.0.strings"),
]


@pytest.mark.parametrize(("path", "value", "key"), WRONG)
def test_a_wrong_value_is_reported_with_its_key(path: tuple[str | int, ...], value: object, key: str) -> None:
    named, text = problem(changed(path, value))
    assert named.startswith(key)
    assert text


def test_a_model_without_a_verb_is_an_error() -> None:
    raw = shipped()
    del raw["models"]["nano-banana-pro"]["imagine"], raw["models"]["nano-banana-pro"]["edit"]
    assert problem(raw) == ("models.nano-banana-pro", "Value error, a model needs imagine, edit or both")


def test_more_models_than_discord_can_show_are_an_error() -> None:
    raw = shipped()
    raw["models"] |= {f"copy-{n}": raw["models"]["nano-banana-2"] for n in range(24)}
    assert problem(raw)[0] == "models"


def test_a_missing_field_for_an_option_is_reported_with_its_route() -> None:
    _, text = problem(changed((*ROUTE, "fields", "seed"), DROP))
    assert "google/nano-banana-2/text-to-image" in text
    assert "seed" in text


def test_a_verb_can_override_single_shared_options() -> None:
    raw = changed((*TWO, "imagine", "options"), {"resolution": {"choices": ["4K"], "default": "4K"}})
    catalog = Catalog.model_validate(raw)
    imagine, edit = (catalog.endpoint("nano-banana-2", verb).options for verb in (Verb.IMAGINE, Verb.EDIT))
    assert imagine.resolution is not None
    assert imagine.resolution.choices == ("4K",)
    assert (imagine.format, imagine.count) == (edit.format, edit.count)


@pytest.mark.parametrize("name", ["seed", "prompt", "references"])
def test_a_route_cannot_lack_what_every_job_has(name: str) -> None:
    raw = changed((*TWO, "edit", "routes", 0, "without"), [name, "thinking"])
    del raw["models"]["nano-banana-2"]["edit"]["routes"][0]["fields"][name]
    assert "without cannot name" in problem(raw)[1]


# --- styles


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ('options = { aspect_ratio = "7:5" }', "styles.ink.options.aspect_ratio: no model has the value '7:5'"),
        ("options = { count = 9 }", "styles.ink.options.count: no model has the value 9"),
        ('options = { aspect = "1:1" }', "styles.ink.options.aspect: there is no such key"),
        ('model = "nano"', "styles.ink.model: 'nano' is not among the models"),
        ('about = "x"\n[styles.copy]\nname = "INK"', "styles.copy.name: the style ink has the same name, 'INK'"),
        ('name = "\u200b"', "styles.ink.name: it has no visible character"),
    ],
)
def test_a_style_that_nothing_can_apply_stops_the_start_with_its_line(tmp_path: Path, wrong: str, line: str) -> None:
    name = "" if wrong.startswith("name") else 'name = "Ink"\n'
    text = f"{GOOD.decode()}\n[styles.ink]\n{name}{wrong}\n"
    with pytest.raises(BadSettings) as caught:
        started_with(tmp_path, text.encode())

    number = len(text.splitlines())
    assert str(caught.value) == f"{tmp_path}/models.toml, line {number}: {line}"


def test_a_style_may_have_a_value_that_only_one_model_has() -> None:
    raw = shipped()
    raw["styles"] = {"wide": {"name": "Wide", "options": {"aspect_ratio": "8:1", "thinking": "high", "count": 4}}}
    catalog = Catalog.model_validate(raw).for_providers(("runcomfy",))  # which has neither
    assert catalog.styles["wide"].given == {"aspect_ratio": "8:1", "thinking": "high", "count": 4}


# --- as an operator meets it


def started_with(folder: Path, text: bytes) -> Catalog:
    (folder / "models.toml").write_bytes(text)
    config = folder / "darkroom.toml"
    config.write_text('[files]\nmodels = "models.toml"\n')
    return Settings.load({"DARKROOM_CONFIG": str(config)}).catalog()


GOOD = SHIPPED.with_name("models.toml").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe" + GOOD,
        b"\x00" * 50,
        GOOD[: len(GOOD) // 2],
        GOOD + b"\ndefault = 'twice'\n[ceilings]\n",
        GOOD + b"\n[models.nano-banana-2]\nname = 'again'\n",
        GOOD + b"\n[models.other]\nname = 'Other'\n",
        GOOD.replace(b"per_image", b"per_picture"),
        GOOD.replace(b'"0.08"', b'"eight cents"'),
        GOOD.replace(b'"0.08"', b"nan"),
    ],
)
def test_an_invalid_file_stops_the_start_with_one_line_that_names_it(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(BadSettings) as caught:
        started_with(tmp_path, text)
    assert "models.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_value_anywhere_is_reported_with_its_line_in_our_own_words(tmp_path: Path) -> None:
    lines = GOOD.decode().splitlines()
    wrong = itertools.cycle(['"canary"', "[3]", "-1", "{ canary = 1 }"])
    for number, line in enumerate(lines, start=1):
        key, equals, _ = line.partition(" = ")
        if not equals or line.startswith("#"):
            continue
        text = "\n".join([*lines[: number - 1], f"{key} = {next(wrong)}", *lines[number:]])
        try:
            started_with(tmp_path, text.encode())
        except BadSettings as exc:
            message = str(exc)
            assert message.startswith(f"{tmp_path}/models.toml, line "), message
            assert not [each for each in FOREIGN if len(each) > 4 and each in message], message
            assert "another form" not in message
            exact = message.partition(", line ")[2].partition(":")[0] == str(number)
            assert exact or not re.search(r" must | is missing", message.partition(": ")[2]), (number, line, message)


def test_a_copy_of_the_shipped_file_is_the_same_catalogue(tmp_path: Path) -> None:
    assert started_with(tmp_path, GOOD) == Settings.load({}).catalog()
