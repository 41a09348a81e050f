"""What several adapters share; nothing here imports a runtime when it is imported."""
