"""The one training loop and its negative sampling."""
