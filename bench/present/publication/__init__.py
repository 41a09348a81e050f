"""Results as files for others to read, and to derive again."""
