"""What stands between the network and the handlers: who may ask, bounds, logs, metrics, workers."""
