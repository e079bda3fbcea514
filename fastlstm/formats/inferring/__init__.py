"""From the names and shapes in a file of weights alone to the layers that keep them, and a draft of the model's JSON."""
