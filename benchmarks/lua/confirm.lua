#!lua
-- Stores the positions of the messages in Kafka.
-- KEYS: open; then each record
-- ARGV: time of the next check (ms); then each position
local n = #KEYS - 1
local scores = {}
for i = 1, n do
  redis.call('HSET', KEYS[1 + i], 'po', ARGV[1 + i])
  scores[2 * i - 1], scores[2 * i] = ARGV[1], string.sub(KEYS[1 + i], -36)
end
redis.call('ZADD', KEYS[1], 'XX', unpack(scores))
return n
