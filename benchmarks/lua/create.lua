#!lua
-- Writes new records, each with its message in a separate key.
-- KEYS: open; then each record; then each message
-- ARGV: task, grace (ms); then each message
local n = (#KEYS - 1) / 2
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local now_text, look_at = string.format('%.0f', now), string.format('%.0f', now + ARGV[2])
local scores, messages = {}, {}
for i = 1, n do
  local key = KEYS[1 + i]
  redis.call('HSET', key, 'st', 'queued', 'tk', ARGV[1], 'sa', now_text)
  scores[2 * i - 1], scores[2 * i] = look_at, string.sub(key, -36)
  messages[2 * i - 1], messages[2 * i] = KEYS[1 + n + i], ARGV[2 + i]
end
redis.call('ZADD', KEYS[1], unpack(scores))
redis.call('MSET', unpack(messages))
return now
