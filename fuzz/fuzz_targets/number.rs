#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

const CODE: &str = r#"
local input = ...
local out = { tostring(tonumber(input)), tostring(math.type(tonumber(input))) }
for base = 2, 36, 7 do out[#out + 1] = tostring(tonumber(input, base)) end
if not input:find("[^%w%.%+%-]") then
  local f = load("return " .. input, "=n", "t", {})
  local ok, v = pcall(f or error)
  out[#out + 1] = f and tostring(v) or "no expression"
end
out[#out + 1] = tostring(pcall(function() return input + 0 end))
return table.concat(out, "|")
"#;

fuzz_target!(|input: &[u8]| {
    if input.len() <= 64 {
        common::compare(CODE, input);
    }
});
