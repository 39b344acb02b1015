"""Other queues on Kafka through some of the same rows, each in a separate environment."""
