"""Fuzzing of what reads files that nobody vouches for: targets, their inputs, and how these are altered. tools/fuzz.py runs it."""
