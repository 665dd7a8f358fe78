
finish()
local second = call('ZRANGE', prefix .. 'due', 0, 0)[1]
return { tag, 'ok', seq, now, second and (number(second) or 0) < now and 1 or 0 }
