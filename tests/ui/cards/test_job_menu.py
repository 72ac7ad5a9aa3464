from dataclasses import replace

from bot.core.cards import Charge
from bot.core.jobs import State
from bot.ui.cards.job_buttons import Viewer
from bot.ui.cards.job_menu import confirm_deletion, deleted, menu
from tests.ui.cards.drawing import EN, HELD, JOB_ID, NOW, card, done, read

FILES = "[Original files → files]"
MINE = Viewer(own=True, may_delete=True)
OTHERS = Viewer(own=False, may_delete=False)
MODERATORS = Viewer(own=False, may_delete=True)


def test_the_menu_tells_the_requester_everything_and_others_nothing_of_money() -> None:
    mine, others = (
        read(menu(done(1), EN, MINE)),
        read(menu(done(1), EN, OTHERS)),
    )

    assert mine == [
        "### ✅ Done",
        "Cost: about $0.08",
        "> a red fox",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture",
        f"-# by RunComfy · seed 42 · took 31 s · <t:{NOW // 1000}:f> · Reference {JOB_ID[-8:]}",
        "-# 9 pictures left today",
        f"[Change prompt → change] [Full prompt → prompt] {FILES} [Favorite → favorite] [Mark as spoiler → spoiler]",
        "[Delete → delete]",
    ]
    assert others == [mine[0], *mine[2:5], "[Original files → files] [Favorite → favorite]"]


def test_who_may_delete_what_is_not_theirs_may_cover_it_too_and_reads_no_prompt() -> None:
    buttons = "[Original files → files] [Favorite → favorite] [Mark as spoiler → spoiler] [Delete → delete]"

    assert read(menu(done(1), EN, MODERATORS))[-1] == buttons


def test_marks_that_are_set_can_be_removed_but_not_the_providers_spoiler() -> None:
    marked = read(menu(done(1, spoiler=True), EN, replace(MODERATORS, favorite=True)))[-1]

    assert "[Remove favorite → favorite] [Remove spoiler → spoiler]" in marked
    assert "spoiler" not in read(menu(done(1, flagged=True), EN, MODERATORS))[-1]


def test_the_menu_of_a_failed_job_says_why() -> None:
    failed = card(State.FAILED, reason="gave_up", charge=Charge(HELD, released=HELD))

    assert read(menu(failed, EN, MINE))[1] == "The image service didn't finish in time."


def test_a_deletion_is_asked_for_with_the_number_of_pictures() -> None:
    one, four = read(confirm_deletion(done(1), EN)), read(confirm_deletion(done(4), EN))

    assert one == ["Delete this picture and its prompt? This can't be undone.", "[Delete → erase]"]
    assert four == [
        "Delete these 4 pictures and their prompt? This can't be undone.",
        "[Delete all → erase]",
        " ".join(f"[Delete picture {n} → erase:{n}]" for n in range(1, 5)),
    ]
    assert read(confirm_deletion(replace(done(1), pictures=()), EN)) == one
    assert read(deleted(EN)) == ["Deleted."]
