"""The front door for Python: what `import bench` gives (`bench.api.public`)."""
