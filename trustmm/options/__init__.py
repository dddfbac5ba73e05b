"""From YAML and the command line to checked options and built stages."""
