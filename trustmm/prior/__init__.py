"""Collaborative priors: anchors of the rectifier, similarities of the edits."""
