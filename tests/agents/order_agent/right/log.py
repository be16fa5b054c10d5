import mlflow

mlflow.pyfunc.save_model(
    "model",
    python_model="model_code.py",
    artifacts={"orders": "orders.json"},
    input_example={"input": [{"role": "user", "content": "Where is order 1001?"}]},
    pip_requirements=[f"mlflow=={mlflow.__version__}"],
)
