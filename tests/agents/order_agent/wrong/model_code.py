"""Answer how an order stands."""

import json
import re
from pathlib import Path

import mlflow
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent


class OrderAgent(mlflow.pyfunc.ResponsesAgent):
    def load_context(self, context):
        self.orders = json.loads(Path(context.artifacts["orders"]).read_text("utf-8"))

    def predict(self, request):
        events = self.predict_stream(request)
        items = [event.item for event in events if event.type.endswith("item.done")]
        return ResponsesAgentResponse(output=items)

    def predict_stream(self, request):
        number = re.search(r"\d+", str(request.input[-1].content))
        order = number[0] if number else "of that number"
        parts = [f"Order {order}: ", self.orders.get(order, "I know no such order.")]
        for part in parts:
            yield event(**self.create_text_delta(part, "message-1"))
        item = self.create_text_output_item(parts[-1], "message-1")
        yield event(type="response.output_item.done", item=item)


def event(**values):
    return ResponsesAgentStreamEvent(**values)


mlflow.models.set_model(OrderAgent())
