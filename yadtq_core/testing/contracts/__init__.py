"""The promises of brokers and backends, as tests that an implementation inherits."""
