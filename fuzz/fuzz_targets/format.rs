#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

const CODE: &str = r#"
local input = ...
local format, s = input:match("^(.-)\0(.*)$")
format, s = format or input, s or ""
local out = {}
for _, v in ipairs({ #s, s, -1.5, 1e300, s:byte() or 0 }) do
  local ok, text = pcall(string.format, format, v, v, v)
  out[#out + 1] = tostring(text)
end
return table.concat(out, "|")
"#;

fuzz_target!(|input: &[u8]| {
    if input.len() <= 64 {
        common::compare(CODE, input);
    }
});
