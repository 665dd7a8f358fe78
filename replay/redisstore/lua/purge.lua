
finish()
local second = call('ZRANGE', prefix .. 'due', 0, 0)[1]
return { tag, 'ok', seq, now, second and tonumber(second) < now and 1 or 0 }
