"""State between requests: sequences, and WebSockets."""
