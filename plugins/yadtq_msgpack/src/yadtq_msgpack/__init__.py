"""Results of yadtq's tasks as MessagePack. Installed, it is found by its entry point; nothing here is to be called."""
