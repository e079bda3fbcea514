"""``fastlstm bench``: how fast a user's own model is here, and in the other engines that are installed."""
