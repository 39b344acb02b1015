"""Other queues on Kafka through some of the same rows, each in an environment of its own."""
