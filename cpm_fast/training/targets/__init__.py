"""What training aims at: belief maps from labels or a teacher, and the loss against them."""
