"""Model.evaluate: losses and metrics, counted over rows, timesteps and batches as the Keras that saved the file counts them."""
