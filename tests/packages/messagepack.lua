local mp = require "MessagePack"
local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end
for _, v in ipairs { 0, 1, 127, 128, 255, 256, 65535, 65536, 2 ^ 32 | 0, math.maxinteger, -1, -32, -33, -128, -129, -32769, math.mininteger,
  0.0, 1.5, -2.25, 1e300, 1 / 0, "", "short", ("x"):rep(31), ("x"):rep(32), ("y"):rep(300), ("z"):rep(70000):sub(1, 66000), true, false } do
  local packed = mp.pack(v)
  local back = mp.unpack(packed)
  print(math.type(v) or type(v), #packed, hex(packed:sub(1, 12)), back == v, math.type(back) == math.type(v))
end
print(hex(mp.pack(nil)), mp.unpack(mp.pack(nil)))
print(hex(mp.pack { 1, 2, { 3, "x" } }), hex(mp.pack { a = 1 }), hex(mp.pack {}))
local list = {}
for i = 1, 70000 do list[i] = i % 200 end
local packed = mp.pack(list)
local back = mp.unpack(packed)
print(#packed, #back, back[70000])
local t = mp.unpack(mp.pack { x = { y = { z = { 1, 2, 3 } } } })
print(t.x.y.z[3])
for _, v in mp.unpacker(mp.pack(1) .. mp.pack("two") .. mp.pack { 3 }) do print(type(v), type(v) == "table" and v[1] or v) end
print(pcall(mp.unpack, "\xc1")) print(pcall(mp.unpack, "\x92\x01")) print(pcall(mp.unpack, mp.pack(1) .. "x")) print(pcall(mp.pack, print))
mp.set_number "float" print(hex(mp.pack(1.5))) mp.set_number "double" mp.set_string "binary" print(hex(mp.pack("ab")))
