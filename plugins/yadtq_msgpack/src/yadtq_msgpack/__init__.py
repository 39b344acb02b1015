"""Results of yadtq's tasks as MessagePack. yadtq finds it by its entry point; it has no functions to call."""
