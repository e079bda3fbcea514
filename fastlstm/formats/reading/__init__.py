"""The stages that the formats share, from a config and arrays to a :class:`fastlstm.spec.ModelSpec`."""
