"""Talk to the served desk: a forecast, a follow-up, and a refund that waits for a yes.

make serve-agent RECIPE=graph_agent
python recipes/graph_agent/client.py
"""

from typing import Any
from uuid import uuid4

import openai

client = openai.OpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none")
conversation: Any = {"context": {"conversation_id": uuid4().hex}}

for message in [
    "What is customer 42 worth over 26 weeks?",
    "And customer 311?",
    "They want their money back",
    "12.50",
]:
    answer = client.responses.create(
        model="agent", input=message, extra_body=conversation
    )
    print(f"> {message}\n{answer.output_text}")

print("> yes")
for event in client.responses.create(
    model="agent", input="yes", extra_body=conversation, stream=True
):
    print(getattr(event, "delta", ""), end="", flush=True)
print()
