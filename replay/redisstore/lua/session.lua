
local operation, next_arg, max = ARGV[4], 6, math.max

local function take()
  next_arg = next_arg + 1
  return ARGV[next_arg - 1]
end

local function take_number() return tonumber(take()) end

local fields = { 'fence', 'floor', 'watermark', 'attempt', 'set_fence', 'set_gen', 'behind', 'revoked', 'next', 'keep' }

-- numbers reads the numbers of a record; with one that is none the record is damaged.
local function numbers(...)
  local list = { ... }
  for i = 1, select('#', ...) do
    list[i] = number(list[i])
    if not list[i] then return false end
  end
  return true, unpack(list)
end

-- load returns a session's record, or nothing and "damaged".
local function load(id)
  local r = read('HMGET', prefix .. 's:' .. id, unpack(fields))
  if r == '' then return nil, 'damaged' end
  if not r[10] then
    return { fence = 0, floor = 0, watermark = 0, attempt = nobody, set_fence = 0, set_gen = 0,
      behind = '0', revoked = '0', next = nobody, keep = false }
  end
  local whole, fence, floor, watermark, set_fence, set_gen, keep = numbers(r[1], r[2], r[3], r[5], r[6], r[10])
  if not whole or not (r[4] and r[7] and r[8] and r[9]) then return nil, 'damaged' end
  return { fence = fence, floor = floor, watermark = watermark, attempt = r[4],
    set_fence = set_fence, set_gen = set_gen, behind = r[7], revoked = r[8], next = r[9], keep = keep }
end

-- put writes a session's record, for which there is room.
local function put(id, s, keep)
  if s.keep then
    if tonumber(keep) < s.keep then keep = string.format('%.0f', s.keep) end
  else
    count.s = count.s + 1
    enlist('s', id, keep)
  end
  call('HSET', prefix .. 's:' .. id, 'fence', s.fence, 'floor', s.floor, 'watermark', s.watermark, 'attempt', s.attempt,
    'set_fence', s.set_fence, 'set_gen', s.set_gen, 'behind', s.behind, 'revoked', s.revoked, 'next', s.next, 'keep', keep)
end

local function room_for(s, limit) return room('s', s.keep and 0 or 1, limit) end

-- update writes a record that changed or is to be kept longer. It is false where
-- there is no room.
local function update(id, s, changed, keep, limit)
  local longer = s.keep and tonumber(keep) > s.keep
  if not changed and not longer then return true end
  if not room_for(s, limit) or not begin() then return false end
  put(id, s, keep)
  return true
end

-- enter returns a session's record, revoked if its login is void, or a refusal.
local function enter(id, keep, subject, since)
  if not reach(keep, 's') then return nil, 'beyond' end
  local s, damaged = load(id)
  if not s or subject == '' then return s, damaged end
  if since < epoch then return nil, 'before' end
  local cut = read('HGET', prefix .. 'u:' .. subject, 'cut')
  if cut and not number(cut) then return nil, 'damaged' end
  if cut and since <= number(cut) then
    s.revoked, s.next = '1', nobody
  end
  return s
end

-- place reads session, fence, gen, keep, subject, since.
local function place()
  local at = { session = take(), fence = take_number(), gen = take_number(), keep = take() }
  local subject, since = take(), take_number()
  at.s, at.refusal = enter(at.session, at.keep, subject, since)
  return at
end

local superseded, rolled_back, revoked, spent, granted = 1, 2, 3, 4, 5

local function under(at)
  if at.s.revoked == '1' then return revoked end
  if at.s.fence ~= at.fence then return superseded end
  return granted
end

local function restore()
  local id, fence, gen, issued, keep = take(), take_number(), take_number(), take_number(), take()
  local subject, since, attempt, strict = take(), take_number(), take(), take()
  local max_rights, max_sessions = take_number(), take_number()
  if issued < epoch then return 'before' end
  if issued > latest then return 'ahead' end
  local s, refusal = enter(id, keep, subject, since)
  if refusal then return refusal end
  if s.revoked == '1' then return 'ok', revoked end
  local again = s.attempt == attempt and s.set_fence == fence and s.set_gen == gen and fence < s.fence
    and s.floor == 0 and s.watermark == 0
  local behind = gen < s.watermark
  if again then behind = s.behind == '1' end
  if not again and (fence ~= s.fence or gen < s.floor) then return 'ok', superseded end
  if behind and strict == '1' then return 'ok', rolled_back end
  local burnt, mine, burns, new = {}, {}, {}, 0
  for i = 1, take_number() do
    local right, right_issued, right_keep, required = take(), take(), take(), take() == '1'
    local wrong, got = admit(right_issued, right_keep), 0
    if wrong and (required or wrong == 'ahead') then return wrong end
    if not wrong then got = outcome(right, attempt, right_keep) end
    if got == 0 and required then return 'ok', spent end
    if got == 2 and not mine[right] then new = new + 1 end
    if got ~= 0 then
      burns[#burns + 1] = { right, right_keep }
      if mine[right] then got = 1 end -- listed twice: the second is ours already
      mine[right] = true
    end
    burnt[i] = got
  end
  if not room('r', new, max_rights) or not room_for(s, max_sessions) or not begin() then return 'full' end
  local looked = {}
  for i = 1, take_number() do looked[i] = call('EXISTS', rights .. take()) end
  for i = 1, #burns do spend(burns[i][1], attempt, burns[i][2]) end
  put(id, { fence = s.fence + 1, floor = 0, watermark = 0, attempt = attempt, set_fence = fence, set_gen = gen,
    behind = behind and '1' or '0', revoked = '0', next = nobody, keep = s.keep }, keep)
  return 'ok', granted, s.fence + 1, behind and 1 or 0, burnt, looked
end

local function protect()
  local limit, at = take_number(), place()
  if at.refusal then return at.refusal end
  local v = under(at)
  if v ~= granted then return 'ok', v end
  local changed = at.gen > at.s.watermark
  at.s.watermark = max(at.s.watermark, at.gen)
  if not update(at.session, at.s, changed, at.keep, limit) then return 'full' end
  return 'ok', granted
end

local function renew()
  local limit, successor, at = take_number(), take(), place()
  if at.refusal then return at.refusal end
  local s = at.s
  local again = s.revoked == '1' and s.next ~= nobody and s.next == successor and s.fence == at.fence
  if not again then
    local v = under(at)
    if v ~= granted then return 'ok', v end
    at.s = { fence = s.fence, floor = 0, watermark = 0, attempt = nobody, set_fence = 0, set_gen = 0,
      behind = '0', revoked = '1', next = successor, keep = s.keep }
  end
  if not update(at.session, at.s, not again, at.keep, limit) then return 'full' end
  return 'ok', granted
end

local function take_right()
  local limit, owner, at = take_number(), take(), place()
  if at.refusal then return at.refusal end
  local v = under(at)
  if v ~= granted then return 'ok', v, 'lost' end
  local word = claim(owner, { take(), take(), take() }, limit)
  if word == 'won' or word == 'mine' or word == 'lost' then return 'ok', granted, word end
  return word
end

local function acknowledge()
  local limit, verdicts, full = take_number(), {}, 0
  local spare = limit - math.floor((limit - 1) / 8) - 1
  for i = 1, take_number() do
    local at = place()
    verdicts[i] = at.refusal and 0 or under(at)
    if verdicts[i] == granted and at.gen > at.s.floor then
      at.s.floor = at.gen
      if not at.s.keep and not room('s', 1, spare) or not begin() then
        full = 1
      else
        put(at.session, at.s, at.keep)
      end
    end
  end
  return 'ok', verdicts, full
end

local function revoke()
  local limit, id, keep = take_number(), take(), take()
  if not reach(keep, 's') then return 'beyond' end
  local s, damaged = load(id)
  if not s then return damaged end
  local changed = s.revoked ~= '1'
  s.revoked = '1'
  if not update(id, s, changed, keep, limit) then return 'full' end
  return 'ok'
end

local function revoke_subject()
  local limit, id, cut, keep, far = take_number(), take(), take_number(), take(), take()
  if not reach(keep, 's') then return 'beyond' end
  if far == '1' then return 'far' end
  local key = prefix .. 'u:' .. id
  local was, whole, was_cut, was_keep = read('HMGET', key, 'cut', 'keep'), true, nil, nil
  if was == '' or was[1] then whole, was_cut, was_keep = numbers(was[1], was[2]) end
  if not whole then return 'damaged' end
  if not room('u', was_cut and 0 or 1, limit) or not begin() then return 'full' end
  cut = max(cut, epoch) -- who logged in just after it was raised is dated at the epoch
  if was_cut then
    cut = max(cut, was_cut + 1)
    if was_keep > tonumber(keep) then keep = string.format('%.0f', was_keep) end
  else
    count.u = count.u + 1
    enlist('u', id, keep)
  end
  call('HSET', key, 'cut', cut, 'keep', keep)
  return 'ok'
end

local operations = {
  restore = restore, protect = protect, take = take_right, acknowledge = acknowledge,
  renew = renew, revoke = revoke, revoke_subject = revoke_subject,
}
local answer = { operations[operation]() }
if not finish() and answer[1] == 'ok' then return { tag, 'replicas' } end
return { tag, answer[1], seq, now, unpack(answer, 2) }
