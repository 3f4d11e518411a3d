"""The operations, the only door to fast code: one file per op, with its contract, checks and backends."""
