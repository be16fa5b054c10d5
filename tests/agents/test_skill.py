"""What agents and containers start from is true to the repository."""

import json
import re

from shared.recipes import ROOT, find

import yaml

SKILL = ROOT / "skills" / "mlflow-models-from-code" / "SKILL.md"


def test_the_skill_is_found_and_its_template_is_the_lesson():
    text = SKILL.read_text("utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["name"] == SKILL.parent.name and len(head["description"]) <= 1024
    code = (find("circle_area").path / "model_code.py").read_text("utf-8")
    assert f'```python title="model_code.py"\n{code}```' in text


def test_each_of_the_twelve_rules_has_its_pitfall():
    rules = re.findall(
        r"^\d+\. ((?:.*\n)+?)(?=\d+\. |\n)", SKILL.read_text("utf-8"), re.M
    )
    assert len(rules) == 12
    assert all("tests/pitfalls/" in rule for rule in rules)
    links = re.findall(r"\]\((.*?)\)", SKILL.read_text("utf-8"))
    assert [link for link in links if not (SKILL.parent / link).is_file()] == []


def test_the_dev_container_makes_a_target_that_is_there():
    file = ROOT / ".devcontainer" / "devcontainer.json"
    make, target = json.loads(file.read_text("utf-8"))["postCreateCommand"].split()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert make == "make" and re.search(rf"^{target}:", makefile, re.M)
