"""Run one benchmark, or all of them, each in a process of its own.

python -m benchmarks [RECIPE | house | pythons]
"""

import subprocess
import sys
from pathlib import Path

from shared.recipes import UnknownRecipe, find


def main(names: list[str]) -> int:
    folder = Path(__file__).parent
    if names and (folder / f"{names[0]}.py").is_file():
        modules = names
    elif names:
        try:
            modules = [find(names[0]).name]
        except UnknownRecipe as error:
            print(error, file=sys.stderr)
            return 2
    else:
        own = {"__init__", "__main__", "report"}
        modules = sorted(path.stem for path in folder.glob("*.py") if path.stem not in own)
    failed = []
    for number, module in enumerate(modules, 1):
        print(f"[{number}/{len(modules)}] {module}", flush=True)
        if subprocess.call([sys.executable, "-m", f"benchmarks.{module}"], cwd=folder.parent):
            failed.append(module)
    for module in failed:
        print(f"{module} failed; run it again: make bench RECIPE={module}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
