#!lua
-- Writes one result and pushes the task's ID to the channel.
-- KEYS: record, channel
-- ARGV: ID, result, result TTL (ms)
redis.call('HSET', KEYS[1], 'st', 'success', 're', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('PUBLISH', KEYS[2], ARGV[1])
