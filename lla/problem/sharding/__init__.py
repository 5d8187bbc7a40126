"""Parameters of which each rank holds a share, and puts one together only while it is used."""
