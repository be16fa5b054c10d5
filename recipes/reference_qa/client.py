"""Ask the served agent with the OpenAI client, plain and streamed.

make serve-agent RECIPE=reference_qa
python recipes/reference_qa/client.py
"""

from typing import Any

import openai

client = openai.OpenAI(base_url="http://127.0.0.1:5001", api_key="none")

answer: Any = client.responses.create(
    model="agent",
    input="What comes back when I call something that never hands back a value?",
)
print(answer.output_text)
for note in answer.output[0].content[0].annotations:
    print("   stands in", note.file_id)

print(
    client.responses.create(
        model="agent", input="How tall is Mount Everest?"
    ).output_text
)

question = "Can I call instances of my class as if they were functions?"
for event in client.responses.create(model="agent", input=question, stream=True):
    print(event.type, getattr(event, "delta", ""))
