"""The names that are remembered of members."""

from bot.ui.interactions.names import SeenNames


def test_the_longest_unseen_member_is_forgotten_first_and_the_newest_name_counts() -> None:
    names = SeenNames(max_names=2)
    names.remember(5, 1, "Ada")
    names.remember(5, 2, "Bob")
    names.remember(5, 1, "Ada L.")
    names.remember(6, 1, "Ada elsewhere")

    assert [names.name_of(5, 1), names.name_of(5, 2), names.name_of(6, 1)] == ["Ada L.", None, "Ada elsewhere"]
