"""Latent bundles: the files that sites and server exchange."""
