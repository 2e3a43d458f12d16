"""Networks: autoencoders, mapping networks, and their files."""
