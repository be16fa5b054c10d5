"""What the OpenAI client prints against an agent: build/transcript.txt."""

import subprocess
import sys

from shared.processes import free_port, running_server
from shared.recipes import ROOT


def main() -> None:
    address = f"http://127.0.0.1:{(port := free_port())}"
    words, log = (
        [sys.executable, "-m", "shared.cli", "serve-agent"],
        ROOT / "build" / "agent.log",
    )
    settings = {"RECIPE": "reference_qa", "PORT": str(port)}
    client = (ROOT / "recipes/reference_qa/client.py").read_text(encoding="utf-8")
    client = client.replace("http://127.0.0.1:5001", address)
    with running_server(words, ROOT, f"{address}/health", log, **settings):
        said = subprocess.check_output([sys.executable, "-c", client], text=True)
    (ROOT / "build" / "transcript.txt").write_text(said, encoding="utf-8")


if __name__ == "__main__":
    main()
