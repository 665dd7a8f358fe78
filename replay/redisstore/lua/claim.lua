
-- A claim is one argument: owner, then of each right id, issued and keep.
local unpack_from, limit, words = struct.unpack, tonumber(ARGV[6]), {}

local function decide(packed)
  local owner, id, issued, keep, at = unpack_from('>c16c16i8Bc0', packed)
  if at > #packed and owner ~= nobody and count.r < limit and not admit(issued, keep) and write(id, owner, keep) then
    return 'won' -- as most
  end
  local list = { id, issued, keep }
  while at <= #packed do
    local n = #list
    list[n + 1], list[n + 2], list[n + 3], at = unpack_from('>c16i8Bc0', packed, at)
  end
  return claim(owner, list, limit)
end

for i = 7, #ARGV do words[i - 6] = decide(ARGV[i]) end
if not finish() then
  for i = 1, #words do
    if words[i] == 'mine' then words[i] = 'replicas' end
  end
end
return { tag, 'ok', seq, now, table.concat(words, ' ') }
