#!lua
-- Writes results, each only under the fence of its record.
-- KEYS: open; then each record; then each message
-- ARGV: result TTL (ms); then for each: fence, result
local n = (#KEYS - 1) / 2
local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local ids, messages = {}, {}
for i = 1, n do
  local key = KEYS[1 + i]
  if redis.call('HGET', key, 'fe') == ARGV[2 * i] then
    redis.call('HSET', key, 'st', 'success', 're', ARGV[2 * i + 1], 'fi', now)
    redis.call('PEXPIRE', key, ARGV[1])
    ids[#ids + 1], messages[#messages + 1] = string.sub(key, -36), KEYS[1 + n + i]
  end
end
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
  redis.call('UNLINK', unpack(messages))
end
return #ids
