"""Where bytes are: locations, the stores that they belong to, files that appear whole."""
