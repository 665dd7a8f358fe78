
local operation, is = ARGV[4], {}
if operation == 'cut' then return { tag, 'ok', seq, now, call('HGET', prefix .. 'u:' .. ARGV[6], 'cut') } end
if operation == 'status' then return { tag, 'ok', seq, now, epoch, math.max(past.r, past.s), count.r, count.s, count.u } end
for i = 7, 6 + tonumber(ARGV[6]) do is[i - 6] = call('EXISTS', prefix .. 'r:' .. ARGV[i]) end
return { tag, 'ok', seq, now, is }
