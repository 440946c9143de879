"""An application with embeddings, for the tests."""
