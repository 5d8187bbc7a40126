"""One module for each way in which weights are written to disk."""
