"""Singer tap for Braze's invalid-phone-number list, and the target that takes numbers off it."""
