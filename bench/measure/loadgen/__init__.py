"""Cells whose queries MLPerf's LoadGen issues, in the worker that holds the prepared session."""
