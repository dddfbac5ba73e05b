"""From raw reviews, texts and images to a data set folder: ``python -m trustmm prepare --help``."""
