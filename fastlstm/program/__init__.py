"""Programs: flat lists of kernel calls, the layout of what they read, and the proof that each stays inside its arrays."""
