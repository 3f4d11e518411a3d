"""The targets of training: belief maps from labels or a teacher, and the loss against them."""
