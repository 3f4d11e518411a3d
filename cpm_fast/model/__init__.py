"""The network: its layers as data, and the module that runs them."""
