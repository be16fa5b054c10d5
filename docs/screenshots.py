"""Pictures of MLflow's UI over what was logged, into docs/pictures: `make screenshots`.

Light, cropped, at twice the pixels; one more is the drawing of the workflow, for link
previews.
"""

import json
import os
import sys
from io import BytesIO
from pathlib import Path

from shared.processes import free_port, running_server
from shared.recipes import ROOT
from shared.store import open_store

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks import report
from docs.browser import FLAGS, find_chromium

PICTURES = ROOT / "docs" / "pictures"
# The assistant's panel covers a quarter of the page unless it was closed before.
CLOSED = """localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");"""

# Who made a run, on which branch, in which process: nobody's concern.
OWN = """[data-testid="key-value-Created by"],
[data-component-id$="runviewsourcebox.tsx_48"] { display: none; }"""


def keep(page: Page, name: str, height: int = 700) -> None:
    """Write what is seen as docs/pictures/<name>.webp, below 150 kB."""
    page.wait_for_timeout(1500)
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": 1200, "height": height})
    for quality in (85, 70, 55, 40):
        Image.open(BytesIO(shot)).convert("RGB").save(
            made := BytesIO(), "webp", quality=quality
        )
        if made.tell() < 150_000:
            break
    (PICTURES / f"{name}.webp").write_bytes(made.getvalue())
    print(f"docs/pictures/{name}.webp {made.tell() // 1000} kB")


def main() -> None:
    import mlflow

    open_store()
    logged = {
        row["recipe"]: row
        for row in json.loads((ROOT / "build/log-all.json").read_text())
    }
    client = mlflow.MlflowClient()
    numbers = [
        int(each.version) for each in client.search_model_versions("name='circle_area'")
    ]
    if len(numbers) == 1:  # a new store: two aliases want two versions
        model = f"models:/{logged['circle_area']['model_id']}"
        numbers += [int(mlflow.register_model(model, "circle_area").version)]
    for alias, number in (("champion", min(numbers)), ("challenger", max(numbers))):
        client.set_registered_model_alias("circle_area", alias, str(number))
    experiment = {each.name: each.experiment_id for each in client.search_experiments()}
    address = f"http://127.0.0.1:{(port := free_port())}"
    words = [sys.executable, "-m", "shared.cli", "ui"]
    ui = running_server(
        words, ROOT, f"{address}/health", Path(os.devnull), PORT=str(port)
    )
    with ui, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=FLAGS
        )
        page = browser.new_page(
            viewport={"width": 1200, "height": 800}, device_scale_factor=2
        )
        page.add_init_script(CLOSED)

        def visit(place: str, wait: str) -> None:
            page.goto("about:blank")
            page.goto(f"{address}/#{place}", wait_until="load")
            page.get_by_text(wait).first.wait_for(timeout=60_000)

        run_id = logged["clv_composite"]["run_id"]
        run = f"/experiments/{experiment['clv_composite']}/runs/{run_id}"
        visit(run, "Description")
        page.add_style_tag(content=OWN)
        keep(page, "ui-run", 800)
        circle = (
            f"{experiment['circle_area']}/models/{logged['circle_area']['model_id']}"
        )
        visit(f"/experiments/{circle}/artifacts", "model_code.py")
        page.get_by_text("model_code.py").first.click()
        page.get_by_text("import").first.wait_for(timeout=30_000)
        # Where it lies on this machine is nobody's concern.
        page.get_by_text("Path: file:").first.evaluate(
            "each => each.style.visibility = 'hidden'"
        )
        keep(page, "ui-artifacts", 700)
        visit(run, "Description")
        page.get_by_text("Logged models").first.scroll_into_view_if_needed()
        keep(page, "ui-lineage", 800)
        visit(f"/experiments/{experiment['reference_qa']}/traces", "Trace")
        page.wait_for_timeout(1500)
        if (tour := page.get_by_role("button", name="Got it")).count():
            tour.first.click()
        keep(page, "ui-traces", 600)
        page.get_by_text("If my code fails inside a with block").last.click()
        page.get_by_role("dialog").get_by_text("retrieve").first.wait_for(
            timeout=60_000
        )
        keep(page, "ui-trace", 500)
        visit("/models/circle_area", "champion")
        keep(page, "ui-registry", 600)
        drawing = (PICTURES / "workflow.svg").read_text(encoding="utf-8")
        page.set_content(f'<body style="margin:30px;background:#fff">{drawing}</body>')
        page.set_viewport_size({"width": 1200, "height": 630})
        shot = Image.open(BytesIO(page.screenshot())).convert("RGB").resize((1200, 630))
        shot.quantize(32).save(PICTURES / "workflow.png", optimize=True)
        browser.close()
    measured = [
        f"recipes/{recipe}"
        for recipe in ("circle_area", "clv_composite", "reference_qa")
    ]
    made = {"mlflow"}, report.digest(measured)
    report.keep(PICTURES / "screenshots.json", *made, measured=measured)


if __name__ == "__main__":
    main()
