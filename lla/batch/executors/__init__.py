"""What jobs are carried out by: one module for each engine."""
