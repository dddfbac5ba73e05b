"""Edges, normalisation, sparse products, cosine neighbours and segment reductions."""
