"""A process that runs on a database until it is killed: `python -m tests.store.lock_holder PATH`."""

import sys
from pathlib import Path

from bot.store.sqlite import RunningLock

lock = RunningLock(Path(sys.argv[1]))
sys.stdout.write("held\n")
sys.stdout.flush()
sys.stdin.read()
