"""trustmm: which multimodal recommender can you trust when images, texts or clicks are wrong?"""

__version__ = "0.1.0"
