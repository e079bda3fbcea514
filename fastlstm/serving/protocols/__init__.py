"""What requests and answers look like: TensorFlow Serving's REST API, the Open Inference Protocol."""
