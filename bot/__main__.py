"""`python -m bot` is the command line."""

if __name__ == "__main__":
    # Inside the guard: worker processes import this module again and need none of it.
    from bot.cli.main import main

    raise SystemExit(main())
