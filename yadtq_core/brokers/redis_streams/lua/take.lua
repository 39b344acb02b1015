#!lua flags=allow-oom
-- Takes entries that were pending for a whole lease; removes idle consumers without entries.
-- KEYS: the stream   ARGV: group, consumer, lease (ms), how many at most
-- Answer: the taken entries, as XRANGE returns them
local stream, group, me, lease = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local taken = redis.call('XAUTOCLAIM', stream, group, me, lease, '0-0', 'COUNT', ARGV[4])[2]
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local named = {}
  for i = 1, #fields, 2 do named[fields[i]] = fields[i + 1] end
  if named['pending'] == 0 and named['idle'] > lease and named['name'] ~= me then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, named['name'])
  end
end
return taken
