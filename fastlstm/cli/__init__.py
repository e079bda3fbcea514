"""The command line: ``fastlstm`` and ``convert-weights``."""
