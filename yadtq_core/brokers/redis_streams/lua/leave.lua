#!lua flags=allow-oom
-- A consumer leaves: others can take its unsettled entries at once; if it has none, it is removed.
-- KEYS: the stream   ARGV: group, consumer, lease (ms), how many at most
-- Answer: the number of entries left to others
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local pending = redis.call('XPENDING', stream, group, '-', '+', ARGV[4], me)
if #pending == 0 then
  redis.call('XGROUP', 'DELCONSUMER', stream, group, me)
  return 0
end
local entries = {}
for i = 1, #pending do entries[i] = pending[i][1] end
local command = {'XCLAIM', stream, group, me, 0}
for i = 1, #entries do command[#command + 1] = entries[i] end
command[#command + 1] = 'IDLE'
command[#command + 1] = ARGV[3]
command[#command + 1] = 'JUSTID'
redis.call(unpack(command))
return #entries
