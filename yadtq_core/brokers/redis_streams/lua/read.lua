#!lua flags=allow-oom
-- Reads new entries for a consumer, a few at a time, until they have the wanted bytes: COUNT alone limits no bytes.
-- KEYS: the stream   ARGV: group, consumer, how many at most, bytes after which it reads no more, a few
-- Answer: the entries, as XRANGE returns them
local entries, left, bytes, few = {}, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
while left > 0 and bytes > 0 do
  local asked = math.min(left, few)
  local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', asked, 'STREAMS', KEYS[1], '>')
  local found = answer and answer[1][2] or {}
  for _, entry in ipairs(found) do
    entries[#entries + 1] = entry
    for i = 2, #entry[2], 2 do bytes = bytes - #entry[2][i] end
  end
  left = #found < asked and 0 or left - asked
end
return entries
