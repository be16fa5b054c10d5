"""Run one benchmark, or all, in processes of their own: python -m benchmarks [NAME]"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
HELPERS = {"__init__", "__main__", "check_model", "pictures", "report"}
KNOWN = sorted({path.stem for path in FOLDER.glob("*.py")} - HELPERS)
OFTEN = [name for name in KNOWN if name != "matrix"]  # which takes half an hour

chosen, failed = sys.argv[1:] or OFTEN, 0
if unknown := set(chosen) - set(KNOWN):
    print(
        f"no benchmark {', '.join(unknown)}\nknown: {', '.join(KNOWN)}", file=sys.stderr
    )
    sys.exit(2)
for number, name in enumerate(chosen, 1):
    print(f"[{number}/{len(chosen)}] {name}", flush=True)
    if subprocess.call([sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent):
        print(f"{name} failed; run it again: make bench RECIPE={name}", file=sys.stderr)
        failed = 1
sys.exit(failed)
