"""The only door to fast code: one file per operation, each with its contract, checks and backends."""
