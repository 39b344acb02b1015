#!lua flags=allow-oom
-- Stores the channel on which the end of these records is pushed. KEYS: each task key   ARGV: channel
-- Answer: for each 1 (has ended, or does not exist), 0, or the text of what is wrong with the record
local channel = ARGV[1]
local MOST = 4

local function one(i)
  local status, others = unpack(call('HMGET', KEYS[i], 'st', 'wt'))
  if not UNFINISHED[status] then return 1 end
  local waiters, kept = {channel}, 1
  for other in string.gmatch(others or '', '%S+') do
    if other ~= channel and kept < MOST then
      kept = kept + 1
      waiters[kept] = other
    end
  end
  call('HSET', KEYS[i], 'wt', table.concat(waiters, ' '))
  return 0
end

return each(#KEYS, one, {})
