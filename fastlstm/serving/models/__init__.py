"""The models that are served: found, loaded, replaced, computed."""
