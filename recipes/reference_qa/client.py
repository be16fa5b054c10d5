"""Ask the served agent with the OpenAI client, plain and streamed.

make serve-agent RECIPE=reference_qa
python recipes/reference_qa/client.py
"""

from typing import Any

import openai

client = openai.OpenAI(base_url="http://127.0.0.1:5001/v1", api_key="none")

question = "Is there something that tells me how often each word occurs in a list?"
answer: Any = client.responses.create(model="agent", input=question)
print(answer.output_text)
for note in answer.output[0].content[0].annotations:
    print("   ", note.url)

other = "How tall is Mount Everest?"
print(client.responses.create(model="agent", input=other).output_text)

for event in client.responses.create(model="agent", input=question, stream=True):
    print(event.type, getattr(event, "delta", ""))
