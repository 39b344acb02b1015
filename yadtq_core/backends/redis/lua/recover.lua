#!lua flags=allow-oom
-- Makes records ready whose messages no consumer will receive, unless the shard is in another epoch than the caller's.
-- KEYS: the four indexes, counts, epoch; then each task key   ARGV: ID of the epoch; then each score in `waiting`
-- Answer: how many became ready
local n = #KEYS - 6
if call('HGET', KEYS[6], 'id') ~= ARGV[1] then return 0 end
local ids = {}
for i = 1, n do ids[i] = sub(KEYS[6 + i], -36) end
local scores = call('ZMSCORE', WAITING, unpack(ids))
local ready = 0

local function one(i)
  local key = KEYS[6 + i]
  if not scores[i] or tonumber(scores[i]) ~= tonumber(ARGV[1 + i]) then return end  -- it waits elsewhere by now
  drop(WAITING, ids[i])
  local status, fence, released = unpack(call('HMGET', key, 'st', 'fe', 'rl'))
  if status ~= 'queued' or fence or released then return end
  call('HSET', key, 'rl', 1)
  put(READY, ids[i], now_text)
  ready = ready + 1
end

for i = 1, n do pcall(one, i) end
settle()
return ready
