"""Small results made by hand, a module for each analysis."""
