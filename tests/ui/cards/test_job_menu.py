from dataclasses import replace

from bot.core.cards import Charge
from bot.core.jobs import State
from bot.ui.cards.job_menu import confirm_deletion, deleted, menu
from tests.ui.cards.drawing import EN, HELD, JOB_ID, NOW, card, done, read


def test_the_menu_tells_the_requester_everything_and_others_nothing_of_money() -> None:
    mine, others = (
        read(menu(done(1), EN, own=True, deletable=True)),
        read(menu(done(1), EN, own=False, deletable=False)),
    )

    assert mine == [
        "### ✅ Done",
        "Cost: about $0.08",
        "> a red fox",
        "-# Nano Banana 2 · 1K · 16:9 · 1 picture",
        f"-# by RunComfy · seed 42 · <t:{NOW // 1000}:f> · Reference {JOB_ID[-8:]}",
        "-# 9 pictures left today",
        "[Change prompt → change] [Full prompt → prompt] [Delete → delete]",
    ]
    assert others == [mine[0], *mine[2:5]]


def test_who_may_delete_what_is_not_theirs_gets_that_button_alone() -> None:
    assert read(menu(done(1), EN, own=False, deletable=True))[-1] == "[Delete → delete]"


def test_the_menu_of_a_failed_job_says_why() -> None:
    failed = card(State.FAILED, reason="gave_up", charge=Charge(HELD, released=HELD))

    assert read(menu(failed, EN, own=True, deletable=True))[1] == "The image service didn't finish in time."


def test_a_deletion_is_asked_for_with_the_number_of_pictures() -> None:
    one, four = read(confirm_deletion(done(1), EN)), read(confirm_deletion(done(4), EN))

    assert one == ["Delete this picture and its prompt? This can't be undone.", "[Delete → erase]"]
    assert four[0] == "Delete these 4 pictures and their prompt? This can't be undone."
    assert read(confirm_deletion(replace(done(1), pictures=()), EN)) == one
    assert read(deleted(EN)) == ["Deleted."]
