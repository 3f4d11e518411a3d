"""Steps that hold networks, layers and training steps against cuDNN's, and their counters."""
