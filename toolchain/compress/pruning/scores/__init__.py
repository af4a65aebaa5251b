"""What a weight is worth: one file a criterion."""
