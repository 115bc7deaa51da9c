"""The endpoints that Amazon SageMaker calls: one model, or a multi-model endpoint that loads and unloads them."""
