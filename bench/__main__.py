"""`python -m bench` lists the benchmarks, `python -m bench NAME` runs one.

Each prints a table and writes bench/out/NAME.json: rows of name, value, unit.
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path

import bench

OUT = Path(__file__).parent / "out"


def main() -> int:
    names = [each.name for each in pkgutil.iter_modules(bench.__path__) if not each.name.startswith("_")]
    if len(sys.argv) < 2:
        for name in names:
            about = (importlib.import_module(f"bench.{name}").__doc__ or "").splitlines()[0]
            print(f"{name:12} {about}")
        return 0
    name = sys.argv[1]
    if name not in names:
        print(f"there is no benchmark {name}: {', '.join(names)}", file=sys.stderr)
        return 2
    rows = importlib.import_module(f"bench.{name}").main()
    width = max(len(each["name"]) for each in rows)
    for each in rows:
        print(f"{each['name']:{width}}  {each['value']:>10} {each['unit']}")
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
