"""An example of a plugin for yadtq: a task, hooks and a command about pictures."""
