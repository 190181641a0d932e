"""The CPU table: the arithmetic against PyTorch, and whole commands.

    python tests/benchmarks/cpu.py --save tests/benchmarks/cpu.md   all of it, half an hour
    python tests/benchmarks/cpu.py --small                          whether it runs

It takes the extras `dev` and `fast`, PyTorch, 20 GB of disk, and a machine that does nothing else.
`commands.py` alone needs no PyTorch.
"""

import argparse
import json
from pathlib import Path

import arithmetic
import commands


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny arrays, once: does it run?")
    parser.add_argument("--save", type=Path, help="the tables, in Markdown")
    parser.add_argument("--json", type=Path, help="the tables, as data")
    wishes = parser.parse_args()
    sizes = commands.SMALL if wishes.small else commands.FULL
    parts = [arithmetic.table(wishes.small), commands.table(sizes)]
    text = "# The CPU table\n\n" + "\n".join(text for text, _ in parts)
    print(text)
    if wishes.save is not None:
        wishes.save.write_text(text, encoding="utf-8")
    if wishes.json is not None:
        data = [one for _, tables in parts for one in tables]
        wishes.json.write_text(json.dumps(data, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
