"""The backend on Redis or Valkey: Lua scripts and the calls of them."""
