
local words, at, limit = {}, 8, tonumber(ARGV[6])
for i = 1, tonumber(ARGV[7]) do
  local n = tonumber(ARGV[at + 1])
  words[i] = claim(ARGV[at], at + 2, n, limit)
  at = at + 2 + 3 * n
end
if not finish() then
  for i = 1, #words do
    if words[i] == 'mine' then words[i] = 'replicas' end
  end
end
return { tag, 'ok', seq, now, table.concat(words, ' ') }
