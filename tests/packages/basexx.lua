-- Encodings, forth and back.
local basexx = require "basexx"
for _, s in ipairs { "", "f", "fo", "foo", "foob", "fooba", "foobar", "\0\255\128" } do
  print(basexx.to_base64(s), basexx.to_base32(s), basexx.to_hex(s), basexx.to_bit(s), basexx.to_url64(s), basexx.to_crockford(s))
  assert(basexx.from_base64(basexx.to_base64(s)) == s and basexx.from_base32(basexx.to_base32(s)) == s and basexx.from_hex(basexx.to_hex(s)) == s)
end
print(basexx.from_base64("Zm9v\nYmFy", "\n"), basexx.from_base64("###"), basexx.from_hex("zz"))
print(basexx.to_z85("12345678"), basexx.from_z85(basexx.to_z85("12345678")))
