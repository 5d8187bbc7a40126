"""What the page says of each analysis: a module for each, named by the analysis itself."""
