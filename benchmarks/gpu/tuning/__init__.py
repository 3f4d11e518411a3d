"""Steps that measure the forms of a convolution, and the plan made of them."""
