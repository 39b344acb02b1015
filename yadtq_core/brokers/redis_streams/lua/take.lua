#!lua flags=allow-oom
-- Takes entries that were pending for a whole lease, a few at a time; removes idle consumers without entries.
-- KEYS: the stream   ARGV: group, consumer, lease (ms), how many at most, bytes after which it takes no more, a few
-- Answer: the taken entries, as XRANGE returns them
local stream, group, me, lease = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local taken, bytes, few, cursor = {}, tonumber(ARGV[5]), tonumber(ARGV[6]), '0-0'
for _ = 1, math.ceil(tonumber(ARGV[4]) / few) do
  local answer = redis.call('XAUTOCLAIM', stream, group, me, lease, cursor, 'COUNT', few)
  cursor = answer[1]
  for _, entry in ipairs(answer[2]) do
    taken[#taken + 1] = entry
    for i = 2, #entry[2], 2 do bytes = bytes - #entry[2][i] end
  end
  if cursor == '0-0' or bytes <= 0 then break end
end
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local named = {}
  for i = 1, #fields, 2 do named[fields[i]] = fields[i + 1] end
  if named['pending'] == 0 and named['idle'] > lease and named['name'] ~= me then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, named['name'])
  end
end
return taken
