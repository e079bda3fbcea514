"""Pictures and pages of a model: its graph and bars as SVG, its layers as HTML. Nothing here computes a model."""
