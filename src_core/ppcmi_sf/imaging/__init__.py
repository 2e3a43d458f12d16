"""Files to oriented volumes to the network grid, and masks back to the file's own grid."""
