"""A fleet on Ray, which carries leases, files and records, and measures nothing."""
