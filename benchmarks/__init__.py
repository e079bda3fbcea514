"""Speed, size and stamina of fastlstm beside other engines: ``python -m benchmarks``, see docs/benchmarks.md."""
