"""What is asked of language models: steps from a state, and texts, questions and prompts that score
them."""
