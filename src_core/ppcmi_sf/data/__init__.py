"""Cases on disk: layouts of public data sets, splits by group, synthetic phantoms."""
