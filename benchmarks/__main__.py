"""Run one benchmark, or all of them, each in a process of its own.

python -m benchmarks [NAME]
"""

import subprocess
import sys
from pathlib import Path

OWN = {"__init__", "__main__", "report"}


def main(names: list[str]) -> int:
    folder = Path(__file__).parent
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem not in OWN)
    if unknown := set(names) - set(known):
        print(f"no benchmark {', '.join(unknown)}\nknown: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen, failed = names or known, []
    for number, name in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        if subprocess.call([sys.executable, "-m", f"benchmarks.{name}"], cwd=folder.parent):
            failed.append(name)
    for name in failed:
        print(f"{name} failed; run it again: make bench RECIPE={name}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
