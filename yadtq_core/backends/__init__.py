"""What keeps records: the implementations of `interfaces.Backend`."""
