"""Statistics as pure functions on arrays: nothing here knows benchmarks, files or clocks."""
